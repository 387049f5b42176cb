//! Counts by name, and values sorted into buckets, as bars.

use std::error::Error;

use plotters::prelude::*;

use super::{SIZE, colour, undrawn};

/// How much of its place a bar fills, on each side of the middle.
const HALF: f64 = 0.4;

/// A bar for each name, with its value above. `x` and `y` say what names and values are.
pub fn bars(x: &str, y: &str, values: &[(String, f64)]) -> String {
    let mut text = String::new();
    match draw(&mut text, x, y, values) {
        Ok(()) => text,
        Err(error) => undrawn(error.as_ref()),
    }
}

/// How many `values` lie in each of `buckets` stretches of equal length, from the least value to
/// the greatest.
pub fn histogram(x: &str, values: &[f64], buckets: usize) -> String {
    let (low, high) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| {
            (low.min(value), high.max(value))
        });
    let buckets = buckets.max(1);
    let width = ((high - low) / buckets as f64).max(f64::MIN_POSITIVE);
    let counted: Vec<(String, f64)> = (0..buckets)
        .filter(|_| !values.is_empty())
        .map(|bucket| {
            let from = low + width * bucket as f64;
            let inside = values.iter().filter(|&&value| {
                let last = bucket + 1 == buckets;
                value >= from && (last || value < from + width)
            });
            let count = inside.count() as f64;
            (format!("{from:.3}"), count)
        })
        .collect();
    bars(x, "how many", &counted)
}

fn draw(
    text: &mut String,
    x: &str,
    y: &str,
    values: &[(String, f64)],
) -> Result<(), Box<dyn Error>> {
    let top = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let top = if top > 0.0 { top * 1.15 } else { 1.0 };
    let places = values.len().max(1) as f64;
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(-0.5..places - 0.5, 0.0..top)?;
    let name_at = |at: &f64| {
        let exact = (at - at.round()).abs() < 0.01 && at.round() >= 0.0;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a whole number that is not below 0"
        )]
        let found = exact.then(|| values.get(at.round() as usize)).flatten();
        found.map(|(name, _)| name.clone()).unwrap_or_default()
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_labels(values.len().max(1) * 2)
        .x_label_formatter(&name_at)
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .label_style(("sans-serif", 14))
        .draw()?;
    let placed = (0_u32..).map(f64::from).zip(values);
    chart.draw_series(placed.clone().map(|(at, (_, value))| {
        Rectangle::new([(at - HALF, 0.0), (at + HALF, *value)], colour(0).filled())
    }))?;
    chart.draw_series(placed.map(|(at, (_, value))| {
        Text::new(
            format!("{value}"),
            (at, *value + top * 0.06),
            ("sans-serif", 14),
        )
    }))?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_has_its_name_and_its_value() {
        let svg = bars(
            "executions",
            "tasks",
            &[("once".into(), 1990.0), ("twice".into(), 10.0)],
        );
        for part in ["once", "twice", "1990", "executions"] {
            assert!(svg.contains(part), "{part} is missing: {svg}");
        }
    }

    #[test]
    fn every_value_falls_into_one_bucket() {
        let svg = histogram("seconds", &[1.0, 1.0, 2.0, 3.0], 2);
        assert!(svg.contains("1.000") && svg.contains("2.000"), "{svg}");
        assert!(histogram("seconds", &[], 3).contains("<svg"));
        assert!(histogram("seconds", &[5.0], 3).contains("<svg"));
    }
}
