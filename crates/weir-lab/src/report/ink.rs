//! Which colour and which marker a policy has: the same in every figure of a report.

use plotters::style::RGBColor;

use crate::compare::Results;
use crate::scenario::Policy;

/// The colour of text and axes: [`super::plot`] makes the page's own out of it, so that it is seen in light and in the dark.
pub(super) const TEXT: RGBColor = RGBColor(1, 2, 3);

/// Colours that people tell apart who see fewer of them, less the yellow that nobody sees on white.
///
/// Source: Okabe and Ito, "Color Universal Design", 2008; the last two are Paul Tol's, 2021.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(136, 136, 136),
    RGBColor(170, 68, 153),
];

/// Markers, as many as have nothing in common with the number of colours: so 56 policies differ in one or the other.
const MARKERS: [Marker; 7] = [
    Marker::Circle,
    Marker::Square,
    Marker::Triangle,
    Marker::Diamond,
    Marker::Cross,
    Marker::Ring,
    Marker::Bar,
];

/// What stands at the points of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    Cross,
    Ring,
    Bar,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ink {
    pub(super) colour: RGBColor,
    /// None for what is no policy.
    pub(super) marker: Option<Marker>,
}

impl Ink {
    /// Of what is no policy: a bound, or a sum.
    pub(super) const PLAIN: Self = Self { colour: TEXT, marker: None };

    /// The one of that number.
    pub(super) fn number(at: usize) -> Self {
        Self { colour: COLOURS[at % COLOURS.len()], marker: Some(MARKERS[at % MARKERS.len()]) }
    }
}

/// The inks of a report's policies.
#[derive(Debug)]
pub(super) struct Inks {
    names: Vec<&'static str>,
}

impl Inks {
    /// In the order in which policies appear.
    pub(super) fn of(results: &Results) -> Self {
        let mut names = Vec::new();
        for case in &results.cases {
            for series in case.simulated.iter().chain(&case.live) {
                if !names.contains(&series.policy.name()) {
                    names.push(series.policy.name());
                }
            }
        }
        Self { names }
    }

    /// That of a policy.
    pub(super) fn ink(&self, policy: Policy) -> Ink {
        Ink::number(self.names.iter().position(|name| *name == policy.name()).unwrap_or(0))
    }

    /// All names, in order.
    pub(super) fn names(&self) -> &[&'static str] {
        &self.names
    }
}
