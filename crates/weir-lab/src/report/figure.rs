//! A figure, or why there is none.

use maud::{Markup, PreEscaped, html};

use super::ink::Inks;
use super::plot::{Dash, Line};
use super::stability::Stability;
use crate::compare::{Case, Series};

/// What is shown of something.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    title: String,
    /// As SVG.
    drawn: Option<String>,
    /// What there is to say of it; all that there is where nothing could be drawn.
    caption: String,
}

impl Figure {
    /// One that is drawn.
    pub(super) fn drawn(title: &str, svg: String, caption: impl Into<String>) -> Self {
        Self { title: title.to_owned(), drawn: Some(svg), caption: caption.into() }
    }

    /// One for which there is nothing to draw.
    pub(super) fn missing(title: &str, why: impl Into<String>) -> Self {
        Self { title: title.to_owned(), drawn: None, caption: why.into() }
    }

    /// As HTML.
    pub(super) fn markup(&self) -> Markup {
        html! {
            figure {
                h4 { (self.title) }
                @if let Some(svg) = &self.drawn { (PreEscaped(svg)) }
                @if !self.caption.is_empty() { figcaption { (self.caption) } }
            }
        }
    }
}

/// Runs of a policy, simulated or live.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'c> {
    pub(super) series: &'c Series,
    pub(super) is_live: bool,
    pub(super) stability: Stability,
}

impl Shown<'_> {
    /// Its name, with all that must be known.
    pub(super) fn name(&self) -> String {
        let live = if self.is_live { " (live)" } else { "" };
        format!("{}{live}", self.series.policy.name())
    }

    /// A line of its ink: dashed where it is live.
    pub(super) fn line(&self, inks: &Inks, points: Vec<(f64, f64)>, marks: Option<Vec<f64>>) -> Line {
        let name = self.series.policy.name();
        let name = if self.stability.is_stable() { name.to_owned() } else { format!("{name} (unstable)") };
        let dash = if self.is_live { Dash::Dashed } else { Dash::Solid };
        Line { name, ink: inks.ink(self.series.policy), dash, points, marks, bars: Vec::new() }
    }
}

/// All series of a case that were run: first those that were simulated.
pub(super) fn shown(case: &Case) -> Vec<Shown<'_>> {
    let of = |is_live| move |series| Shown { series, is_live, stability: Stability::of(case, series) };
    let simulated = case.simulated.iter().map(of(false));
    simulated.chain(case.live.iter().map(of(true))).filter(|shown| !shown.series.runs.is_empty()).collect()
}

/// What dashes mean, where some are live.
pub(super) fn notes(shown: &[Shown<'_>]) -> Vec<String> {
    let is_live = shown.iter().any(|shown| shown.is_live);
    if is_live { vec!["solid: simulated, dashed: live".to_owned()] } else { Vec::new() }
}
