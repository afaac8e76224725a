//! Axes: what they mean, how far they reach, and where they are labelled.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// One axis. Positions on it are what [`Axis::place`] makes of values.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// What it is, with its unit.
    pub(super) label: String,
    /// Positions.
    pub(super) range: (f64, f64),
    /// Positions and texts, in order.
    pub(super) ticks: Vec<(f64, String)>,
    scale: Scale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    Logarithmic,
    /// By the number of nines: what is left above a part of all.
    Nines,
    /// Names, side by side.
    Named,
}

impl Axis {
    /// From `from` to at least `to`.
    pub(super) fn linear(label: impl Into<String>, from: f64, to: f64) -> Self {
        let (from, to) = if to - from > 1e-9 { (from, to) } else { (from - 0.5, from + 0.5) };
        let step = step((to - from) / 8.0);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let first = (from / step).ceil() as i64;
        let last = (to / step + 1e-9).floor() as i64;
        let tick =
            |at: i64| (at as f64 * step, format!("{:.decimals$}", at as f64 * step).replace('-', "\u{2212}"));
        Self {
            label: label.into(),
            range: (from, to),
            ticks: (first..=last).map(tick).collect(),
            scale: Scale::Linear,
        }
    }

    /// The same, labelled at these values as far as there is room.
    pub(super) fn linear_at(label: impl Into<String>, (from, to): (f64, f64), values: &[f64]) -> Self {
        let mut axis = Self::linear(label, from, to);
        axis.ticks.clear();
        for value in values {
            let room = (axis.range.1 - axis.range.0) * 0.05;
            if axis.ticks.last().is_none_or(|(last, _)| value - last >= room) {
                axis.ticks.push((*value, super::words::load(*value)));
            }
        }
        axis
    }

    /// From below the least to above the most of these values, as far as they are more than nothing.
    pub(super) fn logarithmic(label: impl Into<String>, values: impl Iterator<Item = f64>) -> Self {
        let values = values.filter(|value| value.is_finite() && *value > 0.0);
        let (mut least, mut most) =
            values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        if least > most {
            (least, most) = (1.0, 10.0);
        }
        let (from, to) = (least.log10(), most.log10());
        let margin = ((to - from) * 0.04).max(0.05);
        let (from, to) = (from - margin, to + margin);
        let scale = Scale::Logarithmic;
        if to - from < 0.7 {
            // Less than a decade has the round numbers that it would have anyway.
            let linear = Self::linear(label, 10_f64.powf(from), 10_f64.powf(to));
            let ticks = linear.ticks.into_iter().filter(|(value, _)| *value > 0.0);
            let ticks = ticks.map(|(value, text)| (value.log10(), text)).collect();
            return Self { label: linear.label, range: (from, to), ticks, scale };
        }
        // The fewer decades there are, the more of each is labelled.
        let digits: &[f64] = match to - from {
            ..1.2 => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
            ..2.0 => &[1.0, 2.0, 5.0],
            ..3.0 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let mut ticks = Vec::new();
        for decade in from.floor() as i32..=to.ceil() as i32 {
            for digit in digits {
                let place = f64::from(decade) + digit.log10();
                if (from..=to).contains(&place) {
                    let decimals = (1 - decade).max(0) as usize;
                    let text = format!("{:.decimals$}", digit * 10_f64.powi(decade));
                    let text = if text.contains('.') {
                        text.trim_end_matches('0').trim_end_matches('.').to_owned()
                    } else {
                        text
                    };
                    ticks.push((place, text));
                }
            }
        }
        Self { label: label.into(), range: (from, to), ticks, scale }
    }

    /// From nothing to a part of all that is so near to it.
    pub(super) fn nines(label: impl Into<String>, nines: f64) -> Self {
        const MARKS: [(f64, &str); 9] = [
            (0.0, "0"),
            (0.5, "50"),
            (0.9, "90"),
            (0.99, "99"),
            (0.999, "99.9"),
            (0.9999, "99.99"),
            (0.999_99, "99.999"),
            (0.999_999, "99.9999"),
            (0.999_999_9, "99.99999"),
        ];
        let scale = Scale::Nines;
        let ticks = MARKS.iter().map(|(part, text)| (place(scale, *part), (*text).to_owned()));
        let ticks = ticks.filter(|(at, _)| *at <= nines + 1e-9).collect();
        Self { label: label.into(), range: (0.0, nines), ticks, scale }
    }

    /// Names, side by side: the first is at 0, the next at 1.
    pub(super) fn named(label: impl Into<String>, names: impl Iterator<Item = String>) -> Self {
        let ticks: Vec<_> = names.enumerate().map(|(at, name)| (at as f64, name)).collect();
        let range = (-0.5, ticks.len().max(1) as f64 - 0.5);
        Self { label: label.into(), range, ticks, scale: Scale::Named }
    }

    /// Where a value is; `None` where it is beyond the ends, or nowhere.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let place = place(self.scale, value);
        let slack = (self.range.1 - self.range.0) * 1e-6;
        let is_inside = place.is_finite() && place >= self.range.0 - slack && place <= self.range.1 + slack;
        is_inside.then_some(place.clamp(self.range.0, self.range.1))
    }

    /// Whether it has names, which may be long.
    pub(super) fn is_named(&self) -> bool {
        self.scale == Scale::Named
    }

    /// The text at a position.
    fn text(&self, place: f64) -> String {
        let tick = self.ticks.iter().find(|(at, _)| (at - place).abs() < 1e-9);
        tick.map_or(String::new(), |(_, text)| text.clone())
    }
}

/// Positions, as plotters sees them: with the labels that are wanted, and no lines between.
impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (low, high): (i32, i32)) -> i32 {
        let part = (place - self.range.0) / (self.range.1 - self.range.0);
        low + (f64::from(high - low) * part).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let places = self.ticks.iter().map(|(place, _)| *place);
        if hint.weight().allow_light_points() { Vec::new() } else { places.collect() }
    }

    fn range(&self) -> Range<f64> {
        self.range.0..self.range.1
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, place: &f64) -> String {
        if self.is_named() { String::new() } else { self.text(*place) }
    }
}

fn place(scale: Scale, value: f64) -> f64 {
    match scale {
        Scale::Linear | Scale::Named => value,
        Scale::Logarithmic => value.log10(),
        Scale::Nines => -(1.0 - value).log10(),
    }
}

/// The next of 1, 2, 5, 10 … that is no less.
fn step(wanted: f64) -> f64 {
    let decade = 10_f64.powf(wanted.log10().floor());
    let digits = [1.0, 2.0, 5.0].map(|digit| digit * decade);
    digits.into_iter().find(|step| *step >= wanted * 0.999).unwrap_or(decade * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn axes_are_labelled_at_round_numbers() {
        assert_eq!(texts(&Axis::linear("", 0.0, 1.0)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(
            texts(&Axis::logarithmic("", [0.5, 20.0].into_iter())),
            ["0.5", "1", "2", "5", "10", "20"]
        );
        assert_eq!(texts(&Axis::logarithmic("", [9.0, 11.0].into_iter())), ["9", "10", "11", "12"]);
        assert_eq!(texts(&Axis::nines("", 3.0)), ["0", "50", "90", "99", "99.9"]);
    }

    #[test]
    fn values_that_are_none_have_no_place() {
        let axis = Axis::logarithmic("", [1.0, 10.0].into_iter());
        assert_eq!([0.0, -1.0, f64::NAN, f64::INFINITY, 1e9].map(|value| axis.place(value)), [None; 5]);
        let empty = Axis::logarithmic("", std::iter::empty());
        assert!(empty.range.0.is_finite() && empty.range.1 > empty.range.0);
    }
}
