//! `attache service`: the embedded SIP service in the foreground.

use std::path::Path;

use attache_service::{Service, ServiceConfig};

use crate::Failure;

pub(crate) async fn run(path: &Path) -> Result<(), Failure> {
    let config = ServiceConfig::load(path).map_err(|error| {
        let (error, place) = (error.to_string(), path.display().to_string());
        Failure::Configuration(if error.starts_with(&place) { error } else { format!("{place}: {error}") })
    })?;
    if config.users.is_empty() {
        eprintln!("attache: {} has no [[user]], so nobody can sign in", path.display());
    }
    let mut service = Service::start(&config)?;
    for (transport, address) in service.local_addrs() {
        crate::print(&format!("listening on {address} ({})\n", transport.uri_name()))?;
    }
    let scheme = if config.service.tls.is_some() { "https" } else { "http" };
    for address in service.xcap_addrs() {
        crate::print(&format!("documents at {scheme}://{address}/xcap-root (xcap)\n"))?;
    }
    tokio::select! {
        result = crate::ended() => result?,
        () = service.ended() => return Err(anyhow::anyhow!("the service has ended by itself").into()),
    }
    service.shutdown().await;
    Ok(())
}
