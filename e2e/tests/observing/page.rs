//! Reads a page: the commands in its `sh` blocks, and what is expected of each.
//!
//! The convention, all of it:
//! * Every block fenced as `sh` is run, in the order of the page.
//! * Each HTML comment `<!-- expect: TEXT -->` after a block must appear in what it prints.
//! * A block with `eval` sets the environment of those that follow; its variables are expected.
//! * A block with `nats sub` waits for messages. It is left running beside the blocks up to and
//!   including the next one that is of no such kind, and then must have shown what is expected.
//! * A block with `nats pub` or `submit` does something and is run once. Any other block only
//!   looks, and is run until it shows what is expected: what it looks at may be on its way.

/// A block of commands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Where it begins, counted from 1.
    pub(crate) line: usize,
    /// The commands.
    pub(crate) script: String,
    /// What must be in its output.
    pub(crate) expected: Vec<String>,
}

/// How a block is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It sets the environment.
    Settings,
    /// It waits for messages on this subject.
    Watches,
    /// It does something.
    Acts,
    /// It only looks.
    Looks,
}

impl Block {
    /// How it is run.
    pub(crate) fn kind(&self) -> Kind {
        let has = |word| self.script.contains(word);
        match () {
            () if has("eval ") => Kind::Settings,
            () if has("nats sub ") => Kind::Watches,
            () if has("nats pub ") || has(" submit ") => Kind::Acts,
            () => Kind::Looks,
        }
    }

    /// The subject that a block of [`Kind::Watches`] subscribes to.
    pub(crate) fn subject(&self) -> Option<&str> {
        let (_, after) = self.script.split_once("nats sub '")?;
        after.split_once('\'').map(|(subject, _)| subject)
    }

    /// What is expected and not in `output`.
    pub(crate) fn missing(&self, output: &str) -> Vec<&str> {
        let wanted = self.expected.iter().map(String::as_str);
        wanted.filter(|text| !output.contains(text)).collect()
    }
}

/// The blocks of a page.
///
/// # Panics
/// When an expectation has no block, a block no expectation, or a fence no end.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line == "```sh" {
            let body = lines.by_ref().map(|(_, line)| line);
            let script: Vec<&str> = body.take_while(|line| *line != "```").collect();
            blocks.push(Block {
                line: number + 1,
                script: script.join("\n"),
                expected: Vec::new(),
            });
        } else if let Some(text) = expectation(line) {
            let block = blocks.last_mut();
            let block = block.unwrap_or_else(|| panic!("line {}: no block before", number + 1));
            block.expected.push(text.to_owned());
        }
    }
    for Block { line, expected, .. } in &blocks {
        assert!(!expected.is_empty(), "line {line}: nothing is expected");
    }
    blocks
}

fn expectation(line: &str) -> Option<&str> {
    let text = line.strip_prefix("<!-- expect: ")?;
    Some(text.strip_suffix(" -->").unwrap_or(text))
}

#[test]
fn blocks_are_found_with_what_is_expected_of_them() {
    let page = "text\n```sh\nnats sub 'a.>'\n```\n<!-- expect: x -->\n<!-- expect: y -->\n\
                ```text\nnot run\n```\n```sh\nnats pub a b\nls\n```\n<!-- expect: z -->\n";
    let blocks = blocks(page);
    let scripts: Vec<_> = blocks.iter().map(|block| block.script.as_str()).collect();
    assert_eq!(scripts, ["nats sub 'a.>'", "nats pub a b\nls"]);
    assert_eq!((blocks[0].line, blocks[1].line), (2, 10));
    assert_eq!(blocks[0].subject(), Some("a.>"));
    assert_eq!(blocks[0].kind(), Kind::Watches);
    assert_eq!(blocks[1].kind(), Kind::Acts);
    assert_eq!(blocks[0].missing("only y"), ["x"]);
}

#[test]
#[should_panic(expected = "line 1: nothing is expected")]
fn a_block_that_expects_nothing_is_an_error_of_the_page() {
    blocks("```sh\nls\n```\n");
}
