//! The table of a group that places flows by their hash.

use std::sync::Arc;

use super::Group;
use crate::balance::{Disruption, Table};

impl Group {
    /// The picker's table that somebody is to build. See [`crate::balance::Picker::unbuilt`].
    pub fn unbuilt(&self) -> Option<&Arc<Table>> {
        self.picker.unbuilt()
    }

    /// What the last change of the registered targets did to flows. See [`crate::balance::Picker::disruption`].
    pub fn disruption(&self) -> Option<Disruption> {
        self.picker.disruption()
    }
}
