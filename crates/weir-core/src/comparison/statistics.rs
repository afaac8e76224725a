//! What the counts of two arms say: figures, differences with their intervals, and which arm is clearly worse.
//!
//! Values in, values out. Two intervals stand beside each difference. One is the usual one of 95 %, right for whoever looks once. The
//! other is always valid, and decides: control looks every second, and whoever looks often finds a difference where there is none
//! (with the usual interval in a quarter of all trials of twenty looks: Armitage and others, 1969).

//!
//! Requests of one connection have much in common: they ask for the same things, and are with one worker. What is drawn into an arm is
//! a connection, so variances are those between connections, in [`super::BUCKETS`] buckets, not between requests. Source: Deng, Knoblich
//! and Lu, "Applying the delta method in metric analytics", 2018, section 3.

use super::Side;

/// Requests of each arm before which nothing is decided: below that neither figures nor the laws of large numbers are to be relied
/// on. Ours.
pub const REQUESTS_MIN: u64 = 1_000;

/// Buckets, and so connections, that each arm must have had: of fewer nobody knows how much they differ. Ours.
pub const BUCKETS_MIN: usize = 10;

/// How much slower than the other an arm must be, at least, before that matters: 5 %. Ours.
pub const SLOWER_MIN: f64 = 0.05;

/// How likely it is at most that two equal arms are ever told apart, by latency or by failures: 5 %, half of it for each.
const ERROR: f64 = 0.05 / 2.0;

/// Requests of both arms together for which the always valid interval is as narrow as it can be. Ours: from a third to five times as
/// many it is at most 4 % wider than it could be.
const NARROWEST_AT: f64 = 10_000.0;

/// The number that 97.5 % of the normal distribution lie below.
const NORMAL: f64 = 1.959_964;

/// What came of the requests of some connections.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bucket {
    /// Requests that have been answered, by a target or, for want of its answer, by weir.
    pub requests: u64,
    /// Those of them that failed: an answer of 500 to 599, or none.
    pub failures: u64,
    /// The time until the head of the answer of those that did not fail, in seconds: its sum.
    pub seconds: f64,
}

impl Bucket {
    /// Requests that did not fail; their times are known.
    pub fn answered(&self) -> u64 {
        self.requests.saturating_sub(self.failures)
    }
}

/// What one arm has to show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    all: Bucket,
    /// Those that are not empty.
    buckets: Vec<Bucket>,
}

impl Counts {
    /// Of these buckets; empty ones are passed over.
    pub fn of(buckets: impl IntoIterator<Item = Bucket>) -> Self {
        let buckets: Vec<Bucket> = buckets.into_iter().filter(|bucket| bucket.requests > 0).collect();
        let all = buckets.iter().fold(Bucket::default(), |all, bucket| Bucket {
            requests: all.requests + bucket.requests,
            failures: all.failures + bucket.failures,
            seconds: all.seconds + bucket.seconds,
        });
        Self { all, buckets }
    }

    /// All of them together.
    pub fn all(&self) -> &Bucket {
        &self.all
    }

    /// The part of its requests that failed; `None` when there were none.
    pub fn failure_ratio(&self) -> Option<f64> {
        (self.all.requests > 0).then(|| self.all.failures as f64 / self.all.requests as f64)
    }

    /// The mean time in seconds; `None` when nothing is known.
    pub fn mean(&self) -> Option<f64> {
        (self.all.answered() > 0).then(|| self.all.seconds / self.all.answered() as f64)
    }

    /// The square of the mean's standard error; `None` of fewer than two buckets.
    fn squared_error(&self) -> Option<f64> {
        let mean = self.mean()?;
        self.squared_error_of(mean, |of| (of.seconds, of.answered() as f64))
    }

    /// The square of the standard error of a `ratio` of two sums.
    fn squared_error_of(&self, ratio: f64, of: fn(&Bucket) -> (f64, f64)) -> Option<f64> {
        let (_, whole) = of(&self.all);
        // A bucket of which nothing is known, since all of its requests failed, is none of the buckets.
        let known = self.buckets.iter().map(of).filter(|(_, below)| *below > 0.0);
        let residuals: Vec<f64> = known.map(|(above, below)| above - ratio * below).collect();
        let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
        let count = residuals.len() as f64;
        (count >= 2.0).then(|| squares * count / (count - 1.0) / (whole * whole))
    }

    /// Failures and requests as if they had nothing to do with one another: both are divided by how many times the variance is larger
    /// than that. Source: Rao and Scott, "A simple method for the analysis of clustered binary data", 1992.
    fn independent(&self) -> Option<Part> {
        let (ratio, whole) = (self.failure_ratio()?, self.all.requests as f64);
        let (found, expected) = (
            self.squared_error_of(ratio, |of| (of.failures as f64, of.requests as f64)),
            ratio * (1.0 - ratio) / whole,
        );
        let effect = found.filter(|_| expected > 0.0).map_or(1.0, |found| (found / expected).max(1.0));
        Some(Part { some: self.all.failures as f64 / effect, all: whole / effect })
    }
}

/// A part of a whole.
#[derive(Clone, Copy, Debug)]
struct Part {
    some: f64,
    all: f64,
}

/// A range in which something lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    fn around(centre: f64, half_width: f64) -> Self {
        Self { low: centre - half_width, high: centre + half_width }
    }
}

/// How much more arm B has of something than arm A; negative where it is less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// As it was counted.
    pub found: f64,
    /// In 95 of 100 trials the truth is within, where one looks once.
    pub interval: Interval,
    /// In 97.5 of 100 trials the truth is within at every look there is.
    pub always: Interval,
}

/// By what an arm is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// More of its requests fail.
    Failures,
    /// Its mean time is longer, by more than [`SLOWER_MIN`].
    Latency,
}

/// What there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Each arm is clearly worse than the other in one respect: somebody must choose.
    Mixed,
    /// An arm has had fewer requests than [`REQUESTS_MIN`], or connections in fewer buckets than [`BUCKETS_MIN`].
    TooFew,
    /// Neither arm is clearly worse.
    Undecided,
    /// An arm is clearly worse, and in no respect clearly better.
    Worse(Side, Figure),
}

impl Verdict {
    /// The name in the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::TooFew => "too_few",
            Self::Undecided => "undecided",
            Self::Worse(Side::A, _) => "b_is_better",
            Self::Worse(Side::B, _) => "a_is_better",
        }
    }
}

/// What the counts of both arms say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighed {
    /// Of the mean times, in seconds; `None` before either arm has had two connections, and requests that did not fail.
    pub latency: Option<Difference>,
    /// Of the parts that failed; `None` before either arm has had a request.
    pub failures: Option<Difference>,
    /// What follows.
    pub verdict: Verdict,
}

/// Weighs the counts of arm A against those of arm B.
pub fn weigh(a: &Counts, b: &Counts) -> Weighed {
    let failures = failure_difference(a, b);
    let is_worse = |own: &Counts, other: &Counts, fails_more: bool| {
        let figures = [(Figure::Failures, fails_more), (Figure::Latency, is_slower(own, other))];
        figures.into_iter().find(|(_, is)| *is).map(|(figure, _)| figure)
    };
    let fails_more = |is: fn(Interval) -> bool| failures.is_some_and(|difference| is(difference.always));
    let a_is_worse = is_worse(a, b, fails_more(|always| always.high < 0.0));
    let b_is_worse = is_worse(b, a, fails_more(|always| always.low > 0.0));
    let has_few = |of: &Counts| of.all.requests < REQUESTS_MIN || of.buckets.len() < BUCKETS_MIN;
    let verdict = match (a_is_worse, b_is_worse) {
        _ if has_few(a) || has_few(b) => Verdict::TooFew,
        (None, None) => Verdict::Undecided,
        (Some(figure), None) => Verdict::Worse(Side::A, figure),
        (None, Some(figure)) => Verdict::Worse(Side::B, figure),
        (Some(_), Some(_)) => Verdict::Mixed,
    };
    Weighed { latency: latency_difference(a, b), failures, verdict }
}

fn latency_difference(a: &Counts, b: &Counts) -> Option<Difference> {
    let found = b.mean()? - a.mean()?;
    let (of_a, of_b) = (a.squared_error()?, b.squared_error()?);
    let (error, freedom) = ((of_a + of_b).sqrt(), freedom((a, of_a), (b, of_b)));
    let always = always_valid(a.all.answered() + b.all.answered());
    Some(Difference {
        found,
        interval: Interval::around(found, student(NORMAL, freedom) * error),
        always: Interval::around(found, student(always, freedom) * error),
    })
}

fn failure_difference(a: &Counts, b: &Counts) -> Option<Difference> {
    let (of_a, of_b) = (a.independent()?, b.independent()?);
    let freedom = (a.buckets.len() + b.buckets.len()) as f64 - 2.0;
    let always = always_valid(a.all.requests + b.all.requests);
    Some(Difference {
        found: b.failure_ratio()? - a.failure_ratio()?,
        interval: newcombe(of_a, of_b, student(NORMAL, freedom)),
        always: newcombe(of_a, of_b, student(always, freedom)),
    })
}

/// Whether an arm's mean time is surely longer than that of the other and [`SLOWER_MIN`] of it.
fn is_slower(own: &Counts, other: &Counts) -> bool {
    let beyond = || {
        let factor = 1.0 + SLOWER_MIN;
        let (of_own, of_other) = (own.squared_error()?, factor * factor * other.squared_error()?);
        let always = always_valid(own.all.answered() + other.all.answered());
        let errors = student(always, freedom((own, of_own), (other, of_other)));
        Some(own.mean()? - factor * other.mean()? - errors * (of_own + of_other).sqrt())
    };
    beyond().is_some_and(|beyond| beyond > 0.0)
}

/// The degrees of freedom of a difference of two means, by their squared errors.
///
/// Source: Welch, "The generalization of Student's problem when several different population variances are involved", 1947.
fn freedom((a, of_a): (&Counts, f64), (b, of_b): (&Counts, f64)) -> f64 {
    let part = |counts: &Counts, of: f64| of * of / (counts.buckets.len() as f64 - 1.0);
    let freedom = (of_a + of_b).powi(2) / (part(a, of_a) + part(b, of_b));
    // Without any variance there is nothing to be unsure of.
    if freedom.is_finite() { freedom } else { f64::INFINITY }
}

/// The difference of two parts of a whole, so many standard errors wide.
///
/// Source: Newcombe, "Interval estimation for the difference between independent proportions: comparison of eleven methods",
/// 1998, method 10. It holds where nothing has failed yet, too.
fn newcombe(a: Part, b: Part, errors: f64) -> Interval {
    let ratio = |of: Part| of.some / of.all;
    let ((of_a, of_b), (in_a, in_b)) = ((ratio(a), ratio(b)), (wilson(a, errors), wilson(b, errors)));
    let found = of_b - of_a;
    Interval {
        low: found - (of_b - in_b.low).hypot(in_a.high - of_a),
        high: found + (in_b.high - of_b).hypot(of_a - in_a.low),
    }
}

/// Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
fn wilson(Part { some, all }: Part, errors: f64) -> Interval {
    let (part, squared) = (some / all, errors * errors);
    let centre = (part + squared / (2.0 * all)) / (1.0 + squared / all);
    let spread = (part * (1.0 - part) / all + squared / (4.0 * all * all)).sqrt();
    Interval::around(centre, errors * spread / (1.0 + squared / all))
}

/// By how many standard errors what is found after so many requests may be off, at any look of all that there will ever be.
///
/// Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence
/// sequences", Annals of Statistics 2024: theorem 2.2 (Robbins's normal mixture), with their rho for one time that matters most.
fn always_valid(requests: u64) -> f64 {
    let evidence = -2.0 * ERROR.ln();
    let at = requests as f64 / NARROWEST_AT * (evidence + (evidence + 1.0).ln());
    ((1.0 + 1.0 / at) * (evidence + (at + 1.0).ln())).sqrt()
}

/// What as much of Student's distribution lies below as of the normal one lies below `normal`, by degrees of freedom.
///
/// Source: Abramowitz and Stegun, 26.7.5. It errs by less than 0.01 from 5 degrees on; there are more before anybody decides.
fn student(normal: f64, freedom: f64) -> f64 {
    let (z, v) = (normal, freedom.max(1.0));
    let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
    z + (z3 + z) / (4.0 * v)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * v * v)
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / (384.0 * v.powi(3))
}

#[cfg(test)]
mod tests;
