//! What is known of the keys below the prefix.

use std::collections::{BTreeMap, BTreeSet};

use weir_core::task::{SourceKind, Task};

use super::messages::{Event, EventKind, Pair};
use crate::elements::{self, Document, Elements, Mistake};

/// The keys with what their values say.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// What the keys begin with that weir itself publishes: it knows these tasks at first hand.
    own: Vec<Vec<u8>>,
    /// Keys that go by themselves when whoever keeps their lease alive does not.
    leased: BTreeSet<Vec<u8>>,
    /// Whether what has gone since [`Model::is_confirmed`] was asked last was deleted, by somebody who meant it.
    is_confirmed: bool,
    keys: BTreeMap<Vec<u8>, Elements>,
}

impl Model {
    /// A model without the keys that begin like one of `own`.
    pub(super) fn without(own: Vec<Vec<u8>>) -> Self {
        Self { own, ..Self::default() }
    }

    /// All keys that there are.
    pub(super) fn replace(&mut self, pairs: Vec<Pair>) {
        self.keys.clear();
        self.leased.clear();
        self.is_confirmed = false;
        for pair in pairs {
            self.put(pair);
        }
    }

    /// What happened to one of them.
    pub(super) fn apply(&mut self, event: Event) {
        match event.kind {
            EventKind::Delete => {
                self.is_confirmed &= !self.leased.remove(&event.kv.key.0);
                self.keys.remove(&event.kv.key.0);
            }
            EventKind::Put => self.put(event.kv),
        }
    }

    /// Whether whatever has gone since this was asked last was deleted one by one, and not by a lease that ran out.
    pub(super) fn is_confirmed(&mut self) -> bool {
        std::mem::replace(&mut self.is_confirmed, true)
    }

    pub(super) fn key_count(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn tasks(&self) -> Vec<Task> {
        self.keys.values().flat_map(|elements| &elements.tasks).cloned().collect()
    }

    pub(super) fn mistakes(&self) -> BTreeSet<Mistake> {
        self.keys.values().flat_map(|elements| &elements.mistakes).cloned().collect()
    }

    fn put(&mut self, pair: Pair) {
        if self.own.iter().any(|own| pair.key.0.starts_with(own)) {
            return;
        }
        if pair.lease.0 == 0 {
            self.leased.remove(&pair.key.0);
        } else {
            self.leased.insert(pair.key.0.clone());
        }
        let key = String::from_utf8_lossy(&pair.key.0);
        // A key that was deleted and made again is another task, on whatever address.
        let generation = pair.create_revision.0.to_string();
        let document = Document {
            source: SourceKind::Etcd,
            owner: &key,
            origin: &key,
            cause: "put",
            identity: Some((&key, &generation)),
        };
        let read = elements::one_or_list_from_json(&pair.value.0).and_then(|list| document.read(&list));
        // What a value said before it became unreadable is not what its writer wants now.
        let elements = read.unwrap_or_else(|problem| Elements {
            tasks: Vec::new(),
            mistakes: vec![Mistake { owner: key.clone().into_owned(), problem }],
        });
        self.keys.insert(pair.key.0, elements);
    }
}

#[cfg(test)]
mod tests {
    use super::super::messages::{Bytes, Number};
    use super::*;

    fn put(key: &str, value: &str, create_revision: i64) -> Event {
        let (key, value) = (Bytes(key.into()), Bytes(value.into()));
        Event {
            kind: EventKind::Put,
            kv: Pair {
                key,
                value,
                create_revision: Number(create_revision),
                lease: Number(0),
                mod_revision: Number(0),
            },
        }
    }

    fn delete(key: &str) -> Event {
        Event { kind: EventKind::Delete, ..put(key, "", 0) }
    }

    const A: &str = r#"{"targets":["127.0.0.1:1"],"labels":{"service":"web"}}"#;

    #[test]
    fn a_value_that_cannot_be_read_leaves_out_its_key_and_nothing_else() {
        let mut model = Model::default();
        model.apply(put("/w/a", A, 2));
        model.apply(put("/w/b", r#"[{"targets":["127.0.0.1:2"]},{"targets":["127.0.0.1:3"]}]"#, 3));
        assert_eq!(model.tasks().len(), 3);
        model.apply(put("/w/a", "{", 2));
        assert_eq!(model.tasks().len(), 2);
        let mistakes: Vec<Mistake> = model.mistakes().into_iter().collect();
        assert_eq!((mistakes.len(), mistakes[0].owner.as_str()), (1, "/w/a"));
        model.apply(put("/w/a", A, 2));
        assert_eq!((model.tasks().len(), model.mistakes().len()), (3, 0));
        model.apply(delete("/w/b"));
        assert_eq!((model.tasks().len(), model.key_count()), (1, 1));
    }

    #[test]
    fn what_weir_itself_publishes_is_not_read_back() {
        let mut model = Model::without(vec![b"/w/swarm/".to_vec()]);
        model.apply(put("/w/swarm/a", A, 2));
        model.apply(put("/w/swarms", A, 2));
        assert_eq!((model.tasks().len(), model.key_count()), (1, 1));
    }

    #[test]
    fn a_key_that_is_made_again_is_another_task_and_one_that_is_written_again_is_not() {
        let mut model = Model::default();
        let mut id = |event| {
            model.apply(event);
            model.tasks()[0].id.clone().unwrap()
        };
        let first = id(put("/w/a", A, 2));
        assert_eq!(id(put("/w/a", A, 2)), first);
        assert_ne!(id(put("/w/a", A, 5)), first);
    }
}
