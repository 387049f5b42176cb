//! Reports: one HTML file that says what was run, what came out, and shows it.
//!
//! * [`Page`]: the document, in the order in which it is to be read. It needs nothing from
//!   elsewhere (no script, font or style sheet), so it can be attached to an issue as it is.
//! * [`Chart`]: lines, points and shaded spans over two axes; [`bars()`]: counts by name;
//!   [`rows()`]: what happened when.
//!
//! Charts are SVG text and take the colours of the page around them, light or dark.

mod bars;
mod chart;
mod page;
mod rows;

pub use bars::{bars, histogram};
pub use chart::Chart;
pub use page::Page;
pub use rows::rows;

use plotters::style::RGBColor;

/// The size of every figure, in SVG units; the page scales it.
const SIZE: (u32, u32) = (960, 360);

/// Colours that the colour-blind can tell apart (Okabe and Ito), readable on white and on black.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(128, 128, 128),
];

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// A figure that could not be drawn, said where the figure would be: a report is still worth
/// reading without it.
fn undrawn(error: &dyn std::error::Error) -> String {
    maud::html! { p { "this figure could not be drawn: " (error.to_string()) } }.into_string()
}
