//! What is drawn ahead.

use std::array;

/// How many are drawn at a time.
const AT_A_TIME: usize = 64;

/// Draws many at a time, which is faster than one by one between other things.
#[derive(Debug)]
pub(super) struct Ahead<I: Iterator> {
    source: I,
    drawn: array::IntoIter<Option<I::Item>, AT_A_TIME>,
}

impl<I: Iterator> Ahead<I> {
    pub(super) fn of(mut source: I) -> Self {
        let drawn = array::from_fn(|_| source.next()).into_iter();
        Self { source, drawn }
    }
}

impl<I: Iterator> Iterator for Ahead<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        if self.drawn.as_slice().is_empty() {
            self.drawn = array::from_fn(|_| self.source.next()).into_iter();
        }
        self.drawn.next().flatten()
    }
}
