//! The tokenizer and chat template of a Hugging Face model as a [`TextCodec`].

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Deserialize;

use compute::model::{ChatInput, ChatValue, Text};

use crate::{engine::TextCodec, sample::text::Detokenize};

/// The fields of a chat request that the template sees; it ignores the others.
#[derive(Deserialize)]
struct Conversation {
    messages: Vec<ChatValue>,
    #[serde(default)]
    tools: Option<Vec<ChatValue>>,
    #[serde(default)]
    add_generation_prompt: Option<bool>,
    #[serde(default)]
    chat_template_kwargs: Option<BTreeMap<String, ChatValue>>,
}

impl Detokenize for Text {
    fn decode(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens, true)
    }
}

impl TextCodec for Text {
    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        self.tokenizer.encode(text, true).map_err(|error| error.to_string())
    }

    fn chat(&self, request: &str) -> Result<String, String> {
        let template = self
            .chat
            .as_ref()
            .ok_or("cannot be written down: the model has no chat template; use completions instead")?;
        let asked: Conversation =
            serde_json::from_str(request).map_err(|error| format!("are no conversation: {error}"))?;
        let messages: Result<_, _> = asked
            .messages
            .into_iter()
            .enumerate()
            .map(|(index, message)| plain(&message).map_err(|why| format!("[{index}] {why}")))
            .collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let input = ChatInput {
            messages: messages?,
            tools: asked.tools.filter(|tools| !tools.is_empty()),
            add_generation_prompt: asked.add_generation_prompt.unwrap_or(true),
            options: asked.chat_template_kwargs.unwrap_or_default(),
            unix_seconds: now.map_or(0, |since| since.as_secs()),
        };
        template.render(&input).map_err(|error| error.to_string())
    }

    fn encode_chat(&self, text: &str) -> Result<Vec<u32>, String> {
        self.tokenizer.encode(text, false).map_err(|error| error.to_string())
    }
}

/// Joins the text parts of a message's content into one text: templates expect a string.
fn plain(message: &ChatValue) -> Result<ChatValue, String> {
    let field = |value: &ChatValue, name: &str| value.get_attr(name).unwrap_or_default();
    if field(message, "role").as_str().is_none() {
        return Err("has no `role`".to_owned());
    }
    let content = field(message, "content");
    if content.is_none() || content.is_undefined() || content.as_str().is_some() {
        return Ok(message.clone());
    }
    let mut text = String::new();
    for part in content
        .try_iter()
        .map_err(|_| "has a `content` that is neither a text nor a list of parts".to_owned())?
    {
        let kind = field(&part, "type");
        match (kind.as_str(), field(&part, "text").as_str()) {
            (Some("text"), Some(piece)) => text.push_str(piece),
            (Some("text"), None) => return Err("has a part of type `text` without a `text`".to_owned()),
            (kind, _) => {
                let kind = kind.unwrap_or("nothing");
                return Err(format!("has a part of type `{kind}`; only `text` is understood"));
            }
        }
    }
    let names = message.try_iter().map_err(|_| "is no object".to_owned())?;
    Ok(ChatValue::from_pairs(names.map(|name| {
        let value = match name.as_str() {
            Some("content") => ChatValue::from(text.as_str()),
            Some(name) => field(message, name),
            None => ChatValue::default(),
        };
        (name, value)
    })))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use compute::model::Config;

    fn text() -> Text {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/llama-1");
        let config = Config::parse(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
        Text::load(&dir, &config).unwrap()
    }

    #[test]
    fn parts_of_a_message_are_one_text() {
        let text = text();
        let whole = text.chat(r#"{"messages":[{"role":"user","content":"one two"}]}"#);
        let parts = text.chat(
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"one "},{"type":"text","text":"two"}]}]}"#,
        );
        assert_eq!(whole, parts);
        assert!(whole.unwrap().contains("one two"));
    }

    #[test]
    fn what_is_no_conversation_is_refused_by_name() {
        let text = text();
        for (request, expect) in [
            (r#"{"messages":[{"content":"x"}]}"#, "[0] has no `role`"),
            (r#"{"messages":[{"role":"user","content":7}]}"#, "neither a text"),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#,
                "`image_url`",
            ),
            (r#"{"messages":"x"}"#, "are no conversation"),
        ] {
            let why = text.chat(request).unwrap_err();
            assert!(why.contains(expect), "{request}: {why}");
        }
    }

    #[test]
    fn a_text_comes_back_from_its_tokens() {
        let text = text();
        let tokens = text.encode_chat("hello world").unwrap();
        assert_eq!(Detokenize::decode(&text, &tokens), "hello world");
    }
}
