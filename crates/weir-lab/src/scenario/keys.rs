//! Every key that a scenario has, by object: for reading, for the nearest match, and for the reference.

use weir_config::document::Object;

macro_rules! objects {
    ($($constant:ident = $name:literal, [$($key:literal),* $(,)?];)*) => {
        $(
            pub(super) const $constant: Object = Object { name: $name, keys: &[$($key),*], later: &[] };
        )*
        /// Every kind of object of a scenario, but for its target group, which is weir's.
        pub const OBJECTS: &[Object] = &[$($constant),*];
    };
}

objects! {
    ROOT = "scenario",
        [
            "about", "algorithms", "arrivals", "client", "dispatchers", "duration", "events", "keys", "loads", "network",
            "objective", "seed", "seeds", "servers", "target_group", "users", "variants", "warm_up", "work",
        ];
    VARIANT = "variant of a scenario",
        [
            "about", "algorithms", "arrivals", "client", "dispatchers", "duration", "events", "keys", "loads", "name",
            "network", "objective", "seed", "seeds", "servers", "target_group", "users", "warm_up", "work",
        ];
    ARRIVALS = "arrivals", ["file", "high", "load", "low", "process", "rate", "ratio", "steps"];
    STEP = "step", ["at", "load", "rate"];
    USERS = "users", ["count", "thinking"];
    WORK = "work",
        ["alpha", "deviation", "distribution", "file", "least", "mean", "most", "of_work", "share", "spread"];
    KEYS = "keys", ["count", "exponent"];
    SERVERS = "kind of servers",
        [
            "cache", "cold_start", "cores", "count", "discipline", "queue", "slots", "speed", "swings", "weight", "zone",
        ];
    CACHE = "cache", ["keys", "miss"];
    SWINGS = "swings", ["every", "factor", "lasts", "varies"];
    COLD_START = "cold_start", ["cost", "fades", "lasts"];
    DISPATCHERS = "dispatchers", ["count", "counts", "refresh", "surge_queue"];
    CLIENT = "client", ["hedge", "retries", "timeout"];
    EVENT = "event",
        ["at", "crash", "errors", "factor", "recover", "share", "speed", "start", "stop", "takes"];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_replaces_any_key_of_the_file() {
        let mut all: Vec<&str> = ROOT.keys.iter().copied().filter(|key| *key != "variants").collect();
        all.push("name");
        all.sort_unstable();
        assert_eq!(VARIANT.keys, all);
    }
}
