//! Rows with a header, for people. Programs use `--json`.

use a3s_shared::protocol::Route;
use comfy_table::{Table, presets};

/// How much of a text a row shows.
const SHOWN: usize = 60;

/// The rows under their header, without lines.
pub(crate) fn listing<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table.trim_fmt()
}

/// The beginning of the first line of a text.
pub(crate) fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Whose workers take tasks of this route.
pub(crate) fn place(route: &Route) -> String {
    match route {
        Route::Pool(pool) => format!("pool {pool}"),
        Route::Own => "own".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_is_cut_between_characters() {
        assert_eq!(short("one\ntwo"), "one");
        assert_eq!(short(&"ž".repeat(61)), format!("{}…", "ž".repeat(60)));
        assert_eq!(short(&"ž".repeat(60)), "ž".repeat(60));
    }
}
