//! Chat templates: Jinja as `transformers` renders it, with a limit on instructions and output.

use std::{collections::BTreeMap, io, path::Path};

pub use minijinja::Value as ChatValue;
use minijinja::{Environment, Error, ErrorKind, Value, syntax::SyntaxConfig, value::Kwargs};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::{ModelError, date::strftime};
use crate::tensors::read_small;

const TEMPLATE_BYTES_MAX: u64 = 1 << 20;
const CONFIG_BYTES_MAX: u64 = 16 << 20;

/// Most instructions of one rendering; a long chat takes far fewer.
const FUEL: u64 = 20_000_000;

/// Most bytes of a rendered chat.
const TEXT_BYTES_MAX: usize = super::tokenizer::TEXT_BYTES_MAX;

/// The chat templates of a model, and the special tokens that they name.
///
/// ```
/// use compute::model::{Chat, ChatInput};
///
/// let chat = Chat::parse(Some(b"{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"), None).unwrap().unwrap();
/// let message = serde_json::from_str(r#"{"role": "user", "content": "hi"}"#).unwrap();
/// let text = chat.render(&ChatInput { messages: vec![message], ..ChatInput::default() }).unwrap();
/// assert_eq!(text, "<user>hi");
/// ```
pub struct Chat {
    environment: Environment<'static>,
    tools: bool,
    tokens: BTreeMap<String, ChatValue>,
}

/// The variables that a template may read.
#[derive(Clone, Debug, Default)]
pub struct ChatInput {
    /// Messages: objects with at least `role` and `content`. A [`ChatValue`] keeps the order of its fields, which
    /// templates print.
    pub messages: Vec<ChatValue>,
    /// Tools that the model may call.
    pub tools: Option<Vec<ChatValue>>,
    /// True to begin the assistant's turn after the last message.
    pub add_generation_prompt: bool,
    /// Further variables, such as `enable_thinking`.
    pub options: BTreeMap<String, ChatValue>,
    /// Seconds since 1970, for templates that print the date.
    pub unix_seconds: u64,
}

/// Failure to render a chat.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The template called `raise_exception`; its text.
    #[error("the chat template refused: {0}")]
    Refused(String),
    /// The template failed.
    #[error("the chat template failed: {0}")]
    Failed(String),
    /// The text has more bytes than a tokenizer takes.
    #[error("the rendered chat has more than {TEXT_BYTES_MAX} bytes")]
    Long,
}

impl Chat {
    /// Reads `chat_template.jinja`, or else the template in `tokenizer_config.json`. `None` if the model has neither.
    pub fn load(dir: &Path) -> Result<Option<Self>, ModelError> {
        let read = |file: &str, most| match read_small(&dir.join(file), most) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ModelError::Read {
                file: file.to_owned(),
                source,
            }),
        };
        let template = read("chat_template.jinja", TEMPLATE_BYTES_MAX)?;
        let config = read("tokenizer_config.json", CONFIG_BYTES_MAX)?;
        Self::parse(template.as_deref(), config.as_deref())
    }

    /// Parses the bytes of both files, as [`Self::load`].
    pub fn parse(template: Option<&[u8]>, config: Option<&[u8]>) -> Result<Option<Self>, ModelError> {
        let refuse = |why: String| ModelError::Template(why);
        let config: serde_json::Map<String, serde_json::Value> = match config {
            None => serde_json::Map::new(),
            Some(bytes) => serde_json::from_slice(bytes)
                .map_err(|error| refuse(format!("is in a tokenizer_config.json that is no object: {error}")))?,
        };
        let mut sources: Vec<(String, String)> = Vec::new();
        match (template, config.get("chat_template")) {
            (Some(bytes), _) => {
                let text = String::from_utf8(bytes.to_vec()).map_err(|_| refuse("is not UTF-8".to_owned()))?;
                sources.push(("default".to_owned(), text));
            }
            (None, None | Some(serde_json::Value::Null)) => return Ok(None),
            (None, Some(serde_json::Value::String(text))) => sources.push(("default".to_owned(), text.clone())),
            (None, Some(serde_json::Value::Array(list))) => {
                for entry in list {
                    let text = |field| entry.get(field).and_then(serde_json::Value::as_str).map(str::to_owned);
                    let pair = text("name").zip(text("template"));
                    sources.push(pair.ok_or_else(|| refuse("list has an entry without name or template".to_owned()))?);
                }
            }
            (None, Some(_)) => return Err(refuse("is neither a text nor a list".to_owned())),
        }
        let mut environment = environment();
        let tools = sources.iter().any(|(name, _)| name == "tool_use");
        for (name, text) in sources {
            if text.len() as u64 > TEMPLATE_BYTES_MAX {
                return Err(refuse(format!("has more than {TEMPLATE_BYTES_MAX} bytes")));
            }
            let added = environment.add_template_owned(name, text);
            added.map_err(|error| refuse(format!("does not parse: {error:#}")))?;
        }
        if environment.get_template("default").is_err() {
            return Err(refuse("list has none named `default`".to_owned()));
        }
        let tokens = ["bos_token", "eos_token", "pad_token", "unk_token"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), token_text(config.get(name)?)?.into())))
            .collect();
        Ok(Some(Self {
            environment,
            tools,
            tokens,
        }))
    }

    /// Renders a chat. The `tool_use` template is used if there is one and tools are given.
    pub fn render(&self, input: &ChatInput) -> Result<String, RenderError> {
        let name = if self.tools && input.tools.is_some() {
            "tool_use"
        } else {
            "default"
        };
        let failed = |error: Error| match error.kind() {
            ErrorKind::InvalidOperation if error.detail().is_some_and(|text| text.starts_with(RAISED)) => {
                RenderError::Refused(error.detail().unwrap_or_default()[RAISED.len()..].to_owned())
            }
            _ => RenderError::Failed(format!("{error:#}")),
        };
        let template = self.environment.get_template(name).map_err(failed)?;
        let mut context = self.tokens.clone();
        context.extend(input.options.clone());
        context.insert("messages".to_owned(), input.messages.iter().cloned().collect());
        context.insert("add_generation_prompt".to_owned(), input.add_generation_prompt.into());
        if let Some(tools) = &input.tools {
            context.insert("tools".to_owned(), tools.iter().cloned().collect());
        }
        context.insert(NOW.to_owned(), input.unix_seconds.into());
        let mut text = Limited(Vec::new());
        let rendered = template.render_captured_to(Value::from_pairs(context), &mut text);
        if text.0.len() >= TEXT_BYTES_MAX {
            return Err(RenderError::Long);
        }
        rendered.map_err(failed)?;
        String::from_utf8(text.0).map_err(|error| RenderError::Failed(error.to_string()))
    }
}

/// Prefix that marks an error as raised by the template itself.
const RAISED: &str = "raised: ";

/// Variable from which `strftime_now` takes the time.
const NOW: &str = "__unix_seconds";

struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > TEXT_BYTES_MAX {
            self.0.resize(TEXT_BYTES_MAX, b' ');
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes the environment that templates are written for: blocks trimmed, Python's string methods, and three
/// functions.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the delimiters are the usual ones"));
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |text: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{text}")))
    });
    environment.add_function("strftime_now", |state: &minijinja::State<'_, '_>, format: String| {
        let now = state.lookup(NOW).and_then(|now| u64::try_from(now).ok()).unwrap_or(0);
        strftime(&format, now)
    });
    environment.add_filter("tojson", to_json);
    environment
}

/// Writes JSON as Python does: nothing escaped for HTML, a space after commas and colons.
fn to_json(value: Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let mut text = Vec::new();
    let written = match indent {
        Some(indent) => {
            let blanks = vec![b' '; indent.min(16)];
            value.serialize(&mut Serializer::with_formatter(
                &mut text,
                PrettyFormatter::with_indent(&blanks),
            ))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut text, Python)),
    };
    written.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(Value::from_safe_string(String::from_utf8_lossy(&text).into_owned()))
}

struct Python;

impl Formatter for Python {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Returns the text of a special token, which is written as a string or as an object with `content`.
fn token_text(value: &serde_json::Value) -> Option<String> {
    value
        .as_str()
        .or_else(|| value.get("content")?.as_str())
        .map(str::to_owned)
}
