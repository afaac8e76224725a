//! The document as written: a tree that remembers where everything stands.
//!
//! Scalars stay text; what they mean is for whoever reads them. Aliases are refused, and depth is limited, so that no
//! small document becomes a large tree.

use saphyr_parser::{Event, Parser, ScanError, Span};

use crate::problem::Position;

/// Deepest nesting of lists and mappings.
const DEPTH_MAX: usize = 32;

/// A value with its place and the path that leads to it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it stands.
    pub position: Position,
    /// `load_balancers[0].listeners[1].bind`.
    pub path: String,
    /// What it is.
    pub value: Value,
}

impl Node {
    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Value::Mapping(entries) = &self.value else { return None };
        entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Value {
    /// A list.
    Sequence(Vec<Node>),
    /// Keys with their values, no key twice, in the order of the document.
    Mapping(Vec<(Key, Node)>),
    /// One value, as text.
    Scalar(String),
}

/// A key with its place.
#[derive(Clone, Debug)]
pub struct Key {
    /// Where it stands.
    pub position: Position,
    /// Its name.
    pub name: String,
}

/// What keeps a document from being a tree: where, and why.
pub(crate) type SyntaxError = (Position, String);

/// Reads a document. One without content is an empty mapping.
pub(crate) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let mut events = Events { parser: Parser::new_from_str(text), depth: 0 };
    loop {
        match events.next()? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
            (Event::StreamEnd, _) => {
                let position = Position { line: 1, column: 1, width: 1 };
                return Ok(Node { position, path: String::new(), value: Value::Mapping(Vec::new()) });
            }
            first => {
                let root = events.node(first, String::new())?;
                return events.end().map(|()| root);
            }
        }
    }
}

struct Events<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    depth: usize,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), SyntaxError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(syntax_error(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// After the first document nothing may follow.
    fn end(&mut self) -> Result<(), SyntaxError> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(()),
                (Event::DocumentEnd | Event::Nothing, _) => {}
                (_, span) => {
                    return Err((
                        position(span),
                        "a second document begins here; a configuration is one".to_owned(),
                    ));
                }
            }
        }
    }

    /// The node that `event` begins.
    fn node(&mut self, (event, span): (Event<'a>, Span), path: String) -> Result<Node, SyntaxError> {
        let at = position(span);
        let value = match event {
            Event::Scalar(text, ..) => Value::Scalar(text.into_owned()),
            Event::SequenceStart(..) => self.deeper(at, |events| events.sequence(&path))?,
            Event::MappingStart(..) => self.deeper(at, |events| events.mapping(&path))?,
            Event::Alias(_) => {
                return Err((at, "aliases (`*name`) are not supported; repeat the value".to_owned()));
            }
            _ => return Err((at, "a value is missing here".to_owned())),
        };
        // A collection's own place is its first entry's: that is where a reader looks.
        let position = match &value {
            Value::Mapping(entries) => entries.first().map_or(at, |(key, _)| key.position),
            Value::Sequence(_) | Value::Scalar(_) => at,
        };
        Ok(Node { position, path, value })
    }

    fn deeper(
        &mut self,
        at: Position,
        read: impl FnOnce(&mut Self) -> Result<Value, SyntaxError>,
    ) -> Result<Value, SyntaxError> {
        if self.depth == DEPTH_MAX {
            return Err((at, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn sequence(&mut self, path: &str) -> Result<Value, SyntaxError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Sequence(items)),
                first => items.push(self.node(first, format!("{path}[{}]", items.len()))?),
            }
        }
    }

    fn mapping(&mut self, path: &str) -> Result<Value, SyntaxError> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        loop {
            let (name, at) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Mapping(entries)),
                (Event::Scalar(name, ..), span) => (name.into_owned(), position(span)),
                (_, span) => return Err((position(span), "a key must be a plain name".to_owned())),
            };
            if let Some((before, _)) = entries.iter().find(|(key, _)| key.name == name) {
                let cause = format!("`{name}` is given twice; first on line {}", before.position.line);
                return Err((at, cause));
            }
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let first = self.next()?;
            let node = self.node(first, below)?;
            entries.push((Key { position: at, name }, node));
        }
    }
}

fn position(span: Span) -> Position {
    let same_line = span.start.line() == span.end.line();
    let width = if same_line { span.end.col().saturating_sub(span.start.col()).max(1) } else { 1 };
    Position { line: span.start.line().max(1), column: span.start.col() + 1, width }
}

fn syntax_error(error: &ScanError) -> SyntaxError {
    let marker = error.marker();
    let position = Position { line: marker.line().max(1), column: marker.col() + 1, width: 1 };
    (position, format!("this is not YAML: {}", error.info()))
}
