//! What is said of trees: a manifest that is taken can do no harm, and everything is read back as it
//! was written.
#![no_main]

use a3s_shared::protocol::{Kind, Manifest, Places, WorkspaceRef};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(manifest) = Manifest::parse(text) {
        assert_eq!(Manifest::parse(&manifest.text()).as_ref(), Ok(&manifest));
        for entry in manifest.entries() {
            let mut names = entry.path.split('/');
            assert!(names.all(|name| !matches!(name, "" | "." | "..")), "{entry:?}");
            if let Kind::Link { target } = &entry.kind {
                assert!(!target.starts_with('/'), "{entry:?}");
            }
        }
    }
    if let Ok(places) = Places::parse(text) {
        let written: String = places.lines().map(|(line, _)| line).collect();
        assert_eq!(Places::parse(&written), Ok(places));
    }
    if let Ok(reference) = text.parse::<WorkspaceRef>() {
        assert_eq!(reference.to_string().parse(), Ok(reference));
    }
});
