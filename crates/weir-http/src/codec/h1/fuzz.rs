//! The codec beside hyper: what either accepts, refuses or ends elsewhere, over requests that nobody sent.
//!
//! `cargo xtask fuzz 10` does ten million of them; a failure prints its seed and the smallest input that still shows it.

use std::collections::BTreeSet;

use super::testing::generator::conversation;
use super::testing::{read, seeds, smallest};
use differences::Difference;

mod differences;
mod reference;

/// Inputs of an ordinary test run. Ours: a few seconds without optimization.
const INPUTS: u64 = 6_000;

/// The difference to hyper that an input shows; in words what is wrong with what the codec makes of it.
///
/// It is read whole, byte by byte, and in two pieces that are split at every `step`th byte, from `seed` on.
fn look(bytes: &[u8], seed: u64, step: usize) -> Result<Option<Difference>, String> {
    let whole = read(bytes, &[]);
    let every_byte: Vec<usize> = (1..bytes.len()).collect();
    let parts = read(bytes, &every_byte);
    if parts != whole {
        return Err(format!("byte by byte: {parts:?}\nwhole: {whole:?}"));
    }
    for split in (seed as usize % step..bytes.len()).step_by(step) {
        let parts = read(bytes, &[split]);
        if parts != whole {
            return Err(format!("split at {split}: {parts:?}\nwhole: {whole:?}"));
        }
    }
    differences::first(bytes, &whole, &reference::read(bytes, seed as usize % (bytes.len() + 1)))
}

#[test]
fn the_codec_and_hyper_differ_only_where_a_decision_says_so() {
    let seeds = seeds(INPUTS);
    // Of the many, each is split at a few places; byte by byte, all are.
    let is_long = seeds.clone().count() as u64 > INPUTS;
    let step = if is_long { 64 } else { 1 };
    let mut seen = BTreeSet::new();
    for seed in seeds {
        let bytes = conversation(seed);
        match look(&bytes, seed, step) {
            Ok(difference) => seen.extend(difference),
            Err(_) => {
                let smallest = smallest(&bytes, |bytes| look(bytes, seed, 1).is_err());
                let why = look(&smallest, seed, 1).expect_err("the smallest input fails, too");
                panic!("WEIR_FUZZ_SEED={seed}: {}\n{why}", smallest.escape_ascii());
            }
        }
    }
    // A decision about something that never happens is none.
    let unseen: Vec<Difference> = Difference::ALL.into_iter().filter(|d| !seen.contains(d)).collect();
    assert!(unseen.is_empty() || !is_long, "never came across {unseen:?}");
}
