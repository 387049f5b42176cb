//! A chart over two axes: lines, points and shaded spans, each with its name.

use std::error::Error;

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::{SIZE, colour, undrawn};

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Line,
    Points,
    /// From the x of each point to its y, over the whole height.
    Spans,
}

#[derive(Debug, Clone)]
struct Series {
    name: String,
    style: Style,
    points: Vec<(f64, f64)>,
}

/// A chart. Series are drawn in the order in which they are added, in colours of their own.
#[derive(Debug, Clone)]
pub struct Chart {
    labels: (String, String),
    log: (bool, bool),
    series: Vec<Series>,
}

impl Chart {
    /// An empty chart with what its axes mean, unit included.
    pub fn new(x: &str, y: &str) -> Self {
        Self {
            labels: (x.to_owned(), y.to_owned()),
            log: (false, false),
            series: Vec::new(),
        }
    }

    /// Makes the x axis logarithmic; points that are not above 0 are left out.
    #[must_use]
    pub fn log_x(mut self) -> Self {
        self.log.0 = true;
        self
    }

    /// Makes the y axis logarithmic; points that are not above 0 are left out.
    #[must_use]
    pub fn log_y(mut self) -> Self {
        self.log.1 = true;
        self
    }

    /// Adds a line.
    #[must_use]
    pub fn line(self, name: &str, points: Vec<(f64, f64)>) -> Self {
        self.with(name, Style::Line, points)
    }

    /// Adds points.
    #[must_use]
    pub fn scatter(self, name: &str, points: Vec<(f64, f64)>) -> Self {
        self.with(name, Style::Points, points)
    }

    /// Shades stretches of the x axis, given as from and to.
    #[must_use]
    pub fn spans(self, name: &str, spans: Vec<(f64, f64)>) -> Self {
        self.with(name, Style::Spans, spans)
    }

    fn with(mut self, name: &str, style: Style, points: Vec<(f64, f64)>) -> Self {
        self.series.push(Series {
            name: name.to_owned(),
            style,
            points,
        });
        self
    }

    /// The drawing.
    pub fn svg(&self) -> String {
        let mut text = String::new();
        let drawn = self.draw(&mut text);
        match drawn {
            Ok(()) => text,
            Err(error) => undrawn(error.as_ref()),
        }
    }

    fn draw(&self, text: &mut String) -> Result<(), Box<dyn Error>> {
        let (x, y) = (self.range(Axis::X), self.range(Axis::Y));
        match self.log {
            (false, false) => self.draw_on(text, x, y),
            (true, false) => self.draw_on(text, x.log_scale(), y),
            (false, true) => self.draw_on(text, x, y.log_scale()),
            (true, true) => self.draw_on(text, x.log_scale(), y.log_scale()),
        }
    }

    fn draw_on<X, Y>(
        &self,
        text: &mut String,
        x: impl AsRangedCoord<CoordDescType = X, Value = f64>,
        y: impl AsRangedCoord<CoordDescType = Y, Value = f64>,
    ) -> Result<(), Box<dyn Error>>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let (low, high) = self.range_bounds(Axis::Y);
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(&self.labels.0)
            .y_desc(&self.labels.1)
            .label_style(("sans-serif", 14))
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .x_label_formatter(&short)
            .y_label_formatter(&short)
            .draw()?;
        for (index, series) in self.series.iter().enumerate() {
            let paint = colour(index);
            let points = self.shown(series);
            let drawn = match series.style {
                Style::Line => chart.draw_series(LineSeries::new(points, paint.stroke_width(2)))?,
                Style::Points => chart.draw_series(
                    points
                        .into_iter()
                        .map(|point| Circle::new(point, 3, paint.filled())),
                )?,
                Style::Spans => chart.draw_series(points.into_iter().map(|(from, to)| {
                    Rectangle::new([(from, low), (to, high)], paint.mix(0.25).filled())
                }))?,
            };
            drawn.label(&series.name).legend(move |(x, y)| {
                Rectangle::new([(x, y - 5), (x + 12, y + 5)], paint.filled())
            });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(("sans-serif", 14))
            .draw()?;
        root.present()?;
        Ok(())
    }

    /// The points of a series that the axes can show.
    fn shown(&self, series: &Series) -> Vec<(f64, f64)> {
        let fits = |value: f64, log: bool| value.is_finite() && (!log || value > 0.0);
        let y_log = if series.style == Style::Spans {
            self.log.0
        } else {
            self.log.1
        };
        let points = series.points.iter().copied();
        points
            .filter(|&(x, y)| fits(x, self.log.0) && fits(y, y_log))
            .collect()
    }

    fn range(&self, axis: Axis) -> std::ops::Range<f64> {
        let (low, high) = self.range_bounds(axis);
        low..high
    }

    /// From the least to the greatest value that is shown, with some air above; a linear axis
    /// begins at 0 unless something is below.
    fn range_bounds(&self, axis: Axis) -> (f64, f64) {
        let log = match axis {
            Axis::X => self.log.0,
            Axis::Y => self.log.1,
        };
        let values = self.series.iter().flat_map(|series| {
            let points = self.shown(series).into_iter();
            points.flat_map(move |(x, y)| match (axis, series.style) {
                (Axis::X, Style::Spans) => vec![x, y],
                (Axis::X, _) => vec![x],
                (Axis::Y, Style::Spans) => vec![],
                (Axis::Y, _) => vec![y],
            })
        });
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        match (low <= high, log) {
            (false, true) => (0.1, 1.0),
            (false, false) => (0.0, 1.0),
            (true, true) => (low, (high * 1.3).max(low * 2.0)),
            (true, false) => (low.min(0.0), if high > 0.0 { high * 1.08 } else { 1.0 }),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Axis {
    X,
    Y,
}

/// A tick's number in few characters: 1500 is 1.5k.
fn short(value: &f64) -> String {
    let size = value.abs();
    let (scaled, unit) = match size {
        _ if size >= 1e6 => (value / 1e6, "M"),
        _ if size >= 1e3 => (value / 1e3, "k"),
        _ => (*value, ""),
    };
    let text = format!("{scaled:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_named_and_drawn() {
        let points = vec![(1.0, 10.0), (10.0, 1000.0)];
        let chart = Chart::new("workers", "tasks/s")
            .line("pool", points.clone())
            .scatter("own", points)
            .spans("nats-server down", vec![(2.0, 3.0)]);
        for chart in [chart.clone(), chart.clone().log_x(), chart.log_x().log_y()] {
            let svg = chart.svg();
            for part in ["<polyline", "<circle", "nats-server down", "tasks/s"] {
                assert!(svg.contains(part), "{part} is missing: {svg}");
            }
        }
    }

    #[test]
    fn what_no_axis_can_show_is_left_out() {
        let points = vec![
            (0.0, 0.0),
            (f64::NAN, 1.0),
            (2.0, 5.0),
            (3.0, f64::INFINITY),
        ];
        let chart = Chart::new("x", "y").log_x().log_y().scatter("s", points);
        assert_eq!(chart.shown(&chart.series[0]), [(2.0, 5.0)]);
        assert!(chart.svg().contains("<circle"));
        assert!(Chart::new("x", "y").svg().contains("<svg"), "an empty one");
    }

    #[test]
    fn ticks_are_short() {
        let ticks = [0.0, 0.25, 12.0, 1500.0, 2e6].map(|tick| short(&tick));
        assert_eq!(ticks, ["0", "0.25", "12", "1.5k", "2M"]);
    }
}
