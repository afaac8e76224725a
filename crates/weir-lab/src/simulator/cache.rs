//! What a server remembers: the keys that it was asked for last.

use std::collections::{HashMap, VecDeque};

/// A cache that forgets the least recently used.
#[derive(Debug)]
pub(super) struct Cache {
    size: usize,
    uses: u64,
    last_used: HashMap<u64, u64>,
    /// Every use that may still be the last one of its key, in order.
    order: VecDeque<(u64, u64)>,
}

impl Cache {
    pub(super) fn new(size: u32) -> Self {
        Self { size: size as usize, uses: 0, last_used: HashMap::new(), order: VecDeque::new() }
    }

    /// Uses a key: whether it was there. It is now.
    pub(super) fn has(&mut self, key: u64) -> bool {
        self.uses += 1;
        self.order.push_back((key, self.uses));
        let was_there = self.last_used.insert(key, self.uses).is_some();
        while self.last_used.len() > self.size {
            self.forget();
        }
        // Old uses of keys that were used again.
        while self.order.front().is_some_and(|(key, at)| self.last_used.get(key) != Some(at)) {
            self.order.pop_front();
        }
        was_there
    }

    fn forget(&mut self) {
        if let Some((key, at)) = self.order.pop_front()
            && self.last_used.get(&key) == Some(&at)
        {
            self.last_used.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_key_is_forgotten() {
        let mut cache = Cache::new(2);
        let had: Vec<bool> = [1, 2, 1, 3, 2, 3].map(|key| cache.has(key)).into();
        assert_eq!(had, [false, false, true, false, false, true]);
    }
}
