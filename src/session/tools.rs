//! What a session itself can do for a model, as the configuration allows.
//!
//! One set per turn: an end that a model asks for belongs to the answer in which it says good-bye.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::Session;
use super::conversation::Command;
use crate::llm::tools::{BuiltIn, Spec};
use crate::llm::{Tool, Toolbox};
use crate::media::TurnId;
use crate::render::{Catalogue, Character, Gesture};

/// Those that `configured` asks for.
pub(super) fn built_in(
    configured: &Toolbox,
    session: &Arc<Session>,
    catalogue: &Arc<Catalogue>,
    turn: TurnId,
) -> Vec<Arc<dyn Tool>> {
    let mut tools: Vec<Arc<dyn Tool>> = Vec::new();
    if configured.has(BuiltIn::SwitchAvatar) {
        tools.push(Arc::new(SwitchAvatar::new(Arc::clone(session), Arc::clone(catalogue))));
    }
    if configured.has(BuiltIn::PlayAction) {
        tools.push(Arc::new(PlayAction::new(Arc::clone(session))));
    }
    if configured.has(BuiltIn::EndCall) {
        tools.push(Arc::new(EndCall::new(session.commands.clone(), turn)));
    }
    tools
}

struct SwitchAvatar {
    spec: Spec,
    session: Arc<Session>,
    catalogue: Arc<Catalogue>,
}

impl SwitchAvatar {
    fn new(session: Arc<Session>, catalogue: Arc<Catalogue>) -> Self {
        let usable = catalogue.usable();
        let ids: Vec<&str> = usable.iter().map(Character::id).collect();
        let id = json!({"type": "string", "enum": ids});
        let spec = Spec {
            name: "switch_avatar".into(),
            description: "Change which character you appear as. Use it only when the person asks for it.".into(),
            parameters: json!({"type": "object", "properties": {"id": id}, "required": ["id"]}),
        };
        Self { spec, session, catalogue }
    }
}

#[async_trait]
impl Tool for SwitchAvatar {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    async fn call(&self, arguments: Map<String, Value>) -> Result<String, String> {
        let id = arguments.get("id").and_then(Value::as_str).ok_or("id is missing")?;
        let avatar = self.catalogue.get(id).map_err(|error| error.to_string())?;
        self.session.show(&avatar).map_err(|busy| busy.to_string())?;
        Ok(format!("you appear as {id} now"))
    }
}

struct PlayAction {
    spec: Spec,
    session: Arc<Session>,
}

impl PlayAction {
    fn new(session: Arc<Session>) -> Self {
        let name = json!({"type": "string", "enum": Gesture::ALL.map(Gesture::name)});
        let spec = Spec {
            name: "play_action".into(),
            description: "Make a gesture that goes with what you say: it is seen at once, and you go on talking. \
                Use it sparingly, or when the person asks for it."
                .into(),
            parameters: json!({"type": "object", "properties": {"name": name}, "required": ["name"]}),
        };
        Self { spec, session }
    }
}

#[async_trait]
impl Tool for PlayAction {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    async fn call(&self, arguments: Map<String, Value>) -> Result<String, String> {
        let name = arguments.get("name").and_then(Value::as_str).ok_or("name is missing")?;
        let gesture = Gesture::named(name).ok_or("there is no such gesture")?;
        self.session.act(gesture).map_err(|busy| busy.to_string())?;
        Ok("the person sees it now".to_owned())
    }
}

struct EndCall {
    spec: Spec,
    commands: mpsc::Sender<Command>,
    turn: TurnId,
}

impl EndCall {
    fn new(commands: mpsc::Sender<Command>, turn: TurnId) -> Self {
        let spec = Spec {
            name: "end_call".into(),
            description: "End the conversation. Use it only when the person wants to stop talking, then say good-bye."
                .into(),
            parameters: json!({"type": "object", "properties": {}}),
        };
        Self { spec, commands, turn }
    }
}

#[async_trait]
impl Tool for EndCall {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    async fn call(&self, _: Map<String, Value>) -> Result<String, String> {
        let hang_up = Command::HangUp { turn: self.turn };
        self.commands.send(hang_up).await.map_err(|_| "the conversation has ended already")?;
        Ok("the conversation ends once your good-bye has been heard: say it now".to_owned())
    }
}
