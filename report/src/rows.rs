//! What happened when, a row for each kind of thing: bars over one axis of time.

use maud::html;

use super::{SIZE, colour};

/// The height of a row, in SVG units.
const ROW: f64 = 26.0;
/// Where the bars begin: the names are before it.
const LEFT: f64 = 150.0;

/// A row for each name, with its stretches (from and to) on an axis from 0 to `span`.
pub fn rows(x: &str, span: f64, rows: &[(String, Vec<(f64, f64)>)]) -> String {
    let (width, count) = (f64::from(SIZE.0), rows.len() as f64);
    let bottom = ROW * count;
    let span = if span > 0.0 { span } else { 1.0 };
    let place = |at: f64| LEFT + (width - LEFT - 20.0) * (at / span).clamp(0.0, 1.0);
    let ticks = (0..=4_u32).map(|part| span * f64::from(part) / 4.0);
    let svg = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {width} {}", bottom + 48.0))
            font-family="sans-serif" font-size="14" {
            @for tick in ticks {
                line x1=(place(tick)) x2=(place(tick)) y1="0" y2=(bottom)
                    stroke="#000000" opacity="0.15" {}
                text x=(place(tick)) y=(bottom + 18.0) text-anchor="middle" {
                    (format!("{tick:.0}"))
                }
            }
            text x=(width / 2.0) y=(bottom + 40.0) text-anchor="middle" { (x) }
            @for (index, (name, stretches)) in rows.iter().enumerate() {
                @let top = ROW * index as f64;
                @let paint = colour(index);
                text x=(LEFT - 10.0) y=(top + 18.0) text-anchor="end" { (name) }
                @for &(from, to) in stretches {
                    rect x=(format!("{:.1}", place(from))) y=(top + 5.0) height=(ROW - 10.0)
                        // Even the shortest can be seen.
                        width=(format!("{:.1}", (place(to) - place(from)).max(2.0)))
                        fill=(format!("rgb({},{},{})", paint.0, paint.1, paint.2)) {}
                }
            }
        }
    };
    svg.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stretch_is_drawn_in_its_row() {
        let named = [
            ("cut".to_owned(), vec![(0.0, 1.0), (2.0, 2.0)]),
            ("delay".to_owned(), vec![]),
        ];
        let svg = rows("seconds", 4.0, &named);
        assert_eq!(svg.matches("<rect").count(), 2, "{svg}");
        assert!(
            svg.contains("cut") && svg.contains("delay") && svg.contains("seconds"),
            "{svg}"
        );
    }
}
