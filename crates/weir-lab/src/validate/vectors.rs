//! To come.

use super::{Depth, Item};

pub(super) fn add(_: Depth, _: &mut Vec<Item>) {}
