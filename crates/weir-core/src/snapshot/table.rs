//! The table of a group that places flows by their hash.

use std::sync::Arc;

use super::Group;
use crate::balance::{Disruption, Picker, Table};

impl Group {
    /// The pickers' tables that somebody is to build. See [`crate::balance::Picker::unbuilt`].
    pub fn unbuilt(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.pickers().filter_map(Picker::unbuilt)
    }

    /// What the last change of the registered targets did to flows. See [`crate::balance::Picker::disruption`].
    pub fn disruption(&self) -> Option<Disruption> {
        self.pickers().find_map(Picker::disruption)
    }
}
