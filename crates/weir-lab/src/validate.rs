//! The laboratory checks itself before it shows a number: against closed forms that it computes, and published values that it quotes.
//!
//! Source of the list: `spec/algorithms.md`, section 3; the numbers of its items are kept.

mod clients;
mod fleets;
mod hashing;
mod published;
mod queues;
mod vectors;

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Who says what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A closed form or a chain, computed here.
    Theory,
    /// A published value.
    Published(&'static str),
    /// A value that was simulated before, by another program.
    Simulated,
    /// A definition: exact.
    Definition,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Theory => f.write_str("theory, computed"),
            Self::Published(where_) => f.write_str(where_),
            Self::Simulated => f.write_str("simulated before"),
            Self::Definition => f.write_str("definition"),
        }
    }
}

/// What is expected.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// A value, and by which part of it what comes may differ.
    Near(f64, f64),
    /// A value, and by how much what comes may differ.
    Within(f64, f64),
    /// Anything from the first to the second.
    Between(f64, f64),
    /// Something that is said in words, and is so or not.
    That(String),
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The item's number.
    pub item: u8,
    /// What is looked at.
    pub what: String,
    /// What should come.
    pub expected: Expected,
    /// What came; for [`Expected::That`] in words.
    pub got: Got,
    /// Requests, picks or whatever it took.
    pub count: u64,
    /// Who says so.
    pub source: Source,
}

/// What came.
#[derive(Clone, Debug, PartialEq)]
pub enum Got {
    /// A number.
    Value(f64),
    /// Something that is said in words, and whether it is as expected.
    Words(String, bool),
}

impl Row {
    /// Whether it is as expected.
    pub fn passes(&self) -> bool {
        let (expected, got) = match (&self.expected, &self.got) {
            (expected, Got::Value(got)) => (expected, *got),
            (_, Got::Words(_, is_so)) => return *is_so,
        };
        match *expected {
            Expected::Near(value, part) => (got - value).abs() <= part * value.abs(),
            Expected::Within(value, by) => (got - value).abs() <= by,
            Expected::Between(low, high) => (low..=high).contains(&got),
            Expected::That(_) => false,
        }
    }
}

/// What the list has and is not checked, and why.
pub const NOT_CHECKED: [(u8, &str); 7] = [
    (17, "gRPC's bucket of tokens: weir limits retries by a budget of what is under way"),
    (18, "a gradient limiter: weir limits concurrency by numbers that are written"),
    (19, "outliers by success rates: weir ejects by failures in a row, and compares errors by decision 22"),
    (23, "jump hash: weir has it not, since any target may leave"),
    (24, "Karger's ring in a table of slots: weir's has points"),
    (
        30,
        "Prequal before C3 by 6 %: here C3 is before Prequal by half as much. YARP's choices and least loaded at 0.7 behind weighted round \
          robin (1804 and 2642 ms): not so here, nor explained by what is published",
    ),
    (30, "the quantile of numbers in flight: weir's Prequal has it not to set"),
];

/// What one item checks.
pub struct Item {
    /// Its number.
    pub number: u8,
    /// What it is about.
    pub name: &'static str,
    /// About how many seconds it takes.
    pub cost: f64,
    check: Box<dyn Fn() -> Vec<Row> + Send + Sync>,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.name)
    }
}

impl Item {
    fn new(
        number: u8,
        name: &'static str,
        cost: f64,
        check: impl Fn() -> Vec<Row> + Send + Sync + 'static,
    ) -> Self {
        Self { number, name, cost, check: Box::new(check) }
    }

    /// Checks it.
    pub fn check(&self) -> Vec<Row> {
        (self.check)()
    }
}

/// How thorough it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Loads up to 0.8, a quarter of the requests, nothing in real time.
    Quick,
    /// Everything.
    Whole,
}

/// Everything that is checked, several for some numbers.
pub fn items(depth: Depth) -> Vec<Item> {
    let mut items = Vec::new();
    queues::add(depth, &mut items);
    fleets::add(depth, &mut items);
    clients::add(depth, &mut items);
    vectors::add(&mut items);
    hashing::add(depth, &mut items);
    published::add(depth, &mut items);
    items
}

/// Checks items on so many threads, the longest first; `done` hears of each. Rows come in the order of the items' numbers.
///
/// With a thread for each processor one that measures real time has a processor for itself, as all others have.
pub fn check(items: &[Item], threads: usize, done: &(dyn Fn(&Item) + Sync)) -> Vec<Row> {
    let mut order: Vec<&Item> = items.iter().collect();
    order.sort_by(|a, b| b.cost.total_cmp(&a.cost));
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(item) = order.get(next.fetch_add(1, Relaxed)) {
                    let checked = item.check();
                    rows.lock().expect("no check panics while it holds the rows").extend(checked);
                    done(item);
                }
            });
        }
    });
    let mut rows = rows.into_inner().expect("all threads have ended well");
    rows.sort_by(|a: &Row, b: &Row| a.item.cmp(&b.item).then(a.what.cmp(&b.what)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(expected: Expected, got: f64) -> Row {
        let what = "something".to_owned();
        Row { item: 1, what, expected, got: Got::Value(got), count: 1, source: Source::Theory }
    }

    #[test]
    fn a_row_passes_within_its_tolerance_and_not_beyond() {
        assert!(
            row(Expected::Near(2.0, 0.01), 2.019).passes() && !row(Expected::Near(2.0, 0.01), 2.021).passes()
        );
        assert!(
            row(Expected::Within(0.5, 0.1), 0.41).passes() && !row(Expected::Within(0.5, 0.1), 0.39).passes()
        );
        assert!(
            !row(Expected::Between(1.0, 2.0), 2.1).passes()
                && !row(Expected::Near(1.0, 0.1), f64::NAN).passes()
        );
    }

    #[test]
    fn whoever_checks_beside_others_gets_the_same_rows() {
        let some = || -> Vec<Item> {
            let wanted = [4, 20, 23];
            items(Depth::Quick).into_iter().filter(|item| wanted.contains(&item.number)).collect()
        };
        let rows = check(&some(), 1, &|_| {});
        assert_eq!(check(&some(), 3, &|_| {}), rows);
        assert!(rows.iter().all(Row::passes), "{rows:#?}");
    }
}
