//! A report as a document: sections of prose, tables and figures, in reading order.

use std::io;
use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use time::OffsetDateTime;

/// The whole look of a page. Inline, so that the file stands alone.
const STYLE: &str = include_str!("page.css");

/// One report.
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    /// What the reader must know to run it again: name and value.
    facts: Vec<(String, String)>,
    body: Vec<Markup>,
}

impl Page {
    /// A page of this title that says when it was made, by which command line and version.
    pub fn new(title: impl Into<String>) -> Self {
        let command: Vec<String> = std::env::args().collect();
        let page = Self {
            title: title.into(),
            facts: Vec::new(),
            body: Vec::new(),
        };
        page.fact("when", now())
            .fact("command", command.join(" "))
            .fact("a3s-coordinator", env!("CARGO_PKG_VERSION"))
    }

    /// Adds a line to the head of the page, for instance `nats-server` and its version.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl Into<String>) -> Self {
        self.facts.push((name.to_owned(), value.into()));
        self
    }

    /// Begins a section.
    #[must_use]
    pub fn section(self, heading: &str) -> Self {
        self.with(html! { h2 { (heading) } })
    }

    /// Adds a paragraph.
    #[must_use]
    pub fn prose(self, text: &str) -> Self {
        self.with(html! { p { (text) } })
    }

    /// Adds a table; cells that are numbers stand at the right.
    #[must_use]
    pub fn table(self, headers: &[&str], rows: &[Vec<String>]) -> Self {
        self.with(html! {
            table {
                thead { tr { @for header in headers { th { (header) } } } }
                tbody {
                    @for row in rows {
                        tr { @for cell in row { (table_cell(cell)) } }
                    }
                }
            }
        })
    }

    /// Adds a drawing, as [`Chart::svg`](super::Chart::svg) or [`bars`](super::bars()) made it.
    #[must_use]
    pub fn figure(self, caption: &str, svg: &str) -> Self {
        self.with(html! {
            figure { (PreEscaped(svg)) figcaption { (caption) } }
        })
    }

    fn with(mut self, part: Markup) -> Self {
        self.body.push(part);
        self
    }

    /// The document.
    pub fn html(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { (self.title) }
                    dl {
                        @for (name, value) in &self.facts {
                            dt { (name) } dd { code { (value) } }
                        }
                    }
                    @for part in &self.body { (part) }
                }
            }
        };
        page.into_string()
    }

    /// Writes the document; a file of this name is replaced.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, self.html())
    }
}

/// Date and time in UTC, to the second.
fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let (hour, minute, second) = now.to_hms();
    format!("{} {hour:02}:{minute:02}:{second:02} UTC", now.date())
}

fn table_cell(text: &str) -> Markup {
    let number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        && text.contains(|c: char| c.is_ascii_digit());
    html! { td.n[number] { (text) } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Chart, bars};

    fn page() -> Page {
        let chart = Chart::new("seconds", "results").line("done", vec![(0.0, 1.0), (1.0, 3.0)]);
        Page::new("A & B")
            .section("Numbers")
            .prose("<script>alert(1)</script>")
            .table(&["name", "count"], &[vec!["x<y".into(), "12".into()]])
            .figure("over time", &chart.svg())
            .figure("by name", &bars("name", "count", &[("a".into(), 2.0)]))
    }

    #[test]
    fn what_is_written_is_text_and_never_markup() {
        let html = page().html();
        assert!(
            html.contains("A &amp; B") && html.contains("x&lt;y"),
            "{html}"
        );
        assert!(!html.contains("<script"), "{html}");
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        let html = page().html();
        let links = ["src=", "href=", "@import", "url("];
        assert!(links.iter().all(|link| !html.contains(link)), "{html}");
        assert_eq!(html.matches("<svg").count(), 2);
    }

    #[test]
    fn numbers_stand_at_the_right() {
        assert!(page().html().contains("<td class=\"n\">12</td>"));
    }
}
