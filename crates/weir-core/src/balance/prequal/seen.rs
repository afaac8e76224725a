//! What was under way at targets that were probed lately.

/// Probes that the part is of.
pub(super) const SEEN: usize = 64;

/// What was under way at targets when they were probed: the last so many.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// As they came; the next one takes the place of the oldest.
    ring: [u32; SEEN],
    count: usize,
    /// The same, in order.
    sorted: Vec<u32>,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self { ring: [0; SEEN], count: 0, sorted: Vec::with_capacity(SEEN) }
    }

    pub(super) fn push(&mut self, in_flight: u32) {
        let place = &mut self.ring[self.count % SEEN];
        self.count += 1;
        if self.sorted.len() == SEEN {
            if *place == in_flight {
                return;
            }
            let oldest = self.sorted.partition_point(|seen| seen < place);
            self.sorted.remove(oldest);
        }
        *place = in_flight;
        self.sorted.insert(self.sorted.partition_point(|seen| *seen < in_flight), in_flight);
    }

    /// What that part of it is not above; zero when nothing was seen.
    pub(super) fn quantile(&self, part: f64) -> u32 {
        let last = self.sorted.len().saturating_sub(1);
        self.sorted.get((last as f64 * part) as usize).copied().unwrap_or(0)
    }
}
