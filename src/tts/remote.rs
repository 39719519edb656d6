//! A voice of another machine as a voice like any other.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::net::{Fault, Out, generate};
use super::{Config, Error, Manner, Provider, TextToSpeech};
use crate::media::Speech;

/// A service that speaks: one file each.
#[async_trait]
pub(super) trait Service: Send + Sync {
    /// One attempt to say `clause`, which has a letter or a digit in it. What comes goes to `out` as it comes. Dropping the
    /// future closes the connection; time limits and further attempts are the chain's.
    async fn say(&self, clause: &str, out: &Out) -> Result<(), Fault>;
}

/// A service by its name.
pub(super) struct Remote {
    name: &'static str,
    provider: Provider,
    /// What it was made of.
    config: Arc<Config>,
    service: Arc<dyn Service>,
}

impl Remote {
    pub(super) fn new(name: &'static str, provider: Provider, config: Arc<Config>, service: Arc<dyn Service>) -> Self {
        Self { name, provider, config, service }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }
}

impl TextToSpeech for Remote {
    fn speak(&self, clause: String) -> BoxStream<'static, Result<Speech, Error>> {
        let (voice, service) = (self.name, Arc::clone(&self.service));
        generate(move |out| async move { service.say(&clause, &out).await.map_err(|fault| Error::Network { voice, fault }) })
    }

    fn in_manner(&self, manner: &Manner) -> Result<Arc<dyn TextToSpeech>, Error> {
        let config = manner.applied(self.provider, &self.config)?;
        let service = super::service(self.provider, &Arc::new(config))?.expect("a service stays one");
        Ok(Arc::new(service))
    }
}
