//! The date of responses, written once a second.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

thread_local! {
    /// The second that was written last, and how.
    static WRITTEN: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Gives `wall_seconds` since 1970 to `then`, as HTTP writes a date.
pub(crate) fn with<T>(wall_seconds: u64, then: impl FnOnce(&str) -> T) -> T {
    WRITTEN.with_borrow_mut(|(second, text)| {
        if *second != wall_seconds || text.is_empty() {
            *second = wall_seconds;
            *text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(wall_seconds));
        }
        then(text)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_date_is_written_as_http_writes_it() {
        assert_eq!(super::with(784_111_777, str::to_owned), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
