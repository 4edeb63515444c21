//! `wasi:logging` and `wasi:config`: what every plugin may use.

use wasmtime::component::Linker;

use super::wasi;
use crate::{log, state::GuestState};

impl wasi::logging::logging::Host for GuestState {
    fn log(
        &mut self,
        level: wasi::logging::logging::Level,
        context: String,
        message: String,
    ) -> wasmtime::Result<()> {
        use wasi::logging::logging::Level;

        self.spend_call()?;
        let level = match level {
            Level::Trace => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error | Level::Critical => log::Level::Error,
        };
        self.work(|state| state.instance.log.write(level, &context, &message));
        Ok(())
    }
}

/// Toolchains of before the draft had a version import it without one.
pub(super) fn link_unversioned(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    use wasi::logging::logging::{Host, Level};

    linker.instance("wasi:logging/logging")?.func_wrap(
        "log",
        |mut store, (level, context, message): (Level, String, String)| {
            Host::log(wasmtime::StoreContextMut::data_mut(&mut store), level, context, message)
        },
    )
}

impl wasi::config::store::Host for GuestState {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, wasi::config::store::Error>> {
        self.spend_call()?;
        Ok(Ok(self.plugin().config.get(&key).cloned()))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, wasi::config::store::Error>> {
        self.spend_call()?;
        Ok(Ok(self.plugin().config.iter().map(|(key, value)| (key.clone(), value.clone())).collect()))
    }
}
