//! Numbers as people read them.

use crate::statistics::Estimate;

/// Nanoseconds in a millisecond, which is what reports speak of.
pub(super) const MILLISECOND: f64 = 1e6;

/// A number with three digits that mean something, and thousands apart.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let decimals = match value.abs() {
        0.0 => return "0".to_owned(),
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.1.. => 3,
        _ => 4,
    };
    thousands(&format!("{value:.decimals$}"))
}

/// Groups of three, divided by a narrow space that does not break.
fn thousands(text: &str) -> String {
    let (whole, rest) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("\u{2212}", digits));
    let mut grouped = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        // Four digits are read at a glance.
        if at > 0 && digits.len() > 4 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    rest.map_or(grouped.clone(), |rest| format!("{grouped}.{rest}"))
}

/// Nanoseconds, in milliseconds without the unit.
pub(super) fn milliseconds(nanos: f64) -> String {
    number(nanos / MILLISECOND)
}

/// An estimate in nanoseconds, in milliseconds without the unit; with its interval, if there is one.
pub(super) fn estimate(estimate: Estimate) -> String {
    if !estimate.mean.is_finite() {
        return "–".to_owned();
    }
    let mean = milliseconds(estimate.mean);
    if estimate.half_width.is_finite() {
        format!("{mean} ± {}", milliseconds(estimate.half_width))
    } else {
        mean
    }
}

/// A part of one, in parts of a hundred.
pub(super) fn percent(part: f64) -> String {
    if !part.is_finite() {
        return "–".to_owned();
    }
    let percent = part * 100.0;
    // What is not all shall not look like it.
    let text = match 100.0 - percent {
        0.0 => "100".to_owned(),
        ..0.01 => format!("{:.4}", percent.min(99.9999)),
        ..0.1 => format!("{percent:.3}"),
        _ => format!("{percent:.2}"),
    };
    format!("{text} %")
}

/// A load, as part of the capacity.
pub(super) fn load(load: f64) -> String {
    let text = format!("{load:.3}");
    let text = text.trim_end_matches('0');
    let decimals = text.len() - text.find('.').map_or(text.len(), |at| at + 1);
    if decimals < 2 { format!("{load:.2}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_what_is_none_is_a_dash() {
        let texts = [0.0, 0.012_34, 0.5, 1.234, 12.34, 123.4, 1234.5, -12_345.0].map(number);
        let expected = ["0", "0.0123", "0.500", "1.23", "12.3", "123", "1234", "−12\u{202f}345"];
        assert_eq!(texts, expected);
        assert_eq!([number(f64::NAN), number(f64::INFINITY)], ["–", "–"]);
    }

    #[test]
    fn what_is_not_all_does_not_look_like_it() {
        assert_eq!([percent(1.0), percent(0.999_999_9), percent(0.5)], ["100 %", "99.9999 %", "50.00 %"]);
        assert_eq!([load(0.5), load(0.875), load(0.9)], ["0.50", "0.875", "0.90"]);
    }
}
