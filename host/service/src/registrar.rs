//! Where users are: bindings of an address of record to contacts (RFC 3261, section 10).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use attache_sip::message::{HeaderName, Message};
use attache_sip::transport::Flow;
use attache_sip::uri::{Uri, UriBuf};

use crate::directory::Aor;
use crate::reach::Reach;

/// One contact of a user.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub(crate) contact: UriBuf,
    pub(crate) reach: Reach,
    /// Thousandths; the higher the dearer.
    pub(crate) q: u16,
    pub(crate) expires_at: Instant,
    /// The device and its flow (RFC 5626, section 4.1): a device that comes back replaces what it had.
    instance: Option<(String, String)>,
    call_id: String,
    cseq: u32,
}

/// Why a REGISTER changed nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    Malformed(&'static str),
    /// 423, with the least that is accepted.
    TooBrief,
    /// An older request of the same client came late.
    OutOfOrder,
}

/// What a REGISTER wants to change.
pub(crate) enum Change {
    Nothing,
    RemoveAll,
    Set(Vec<Wish>),
}

pub(crate) struct Wish {
    contact: UriBuf,
    expires: Duration,
    q: u16,
    instance: Option<(String, String)>,
}

/// Bounds on registrations.
#[derive(Copy, Clone)]
pub(crate) struct Bounds {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
    pub(crate) per_user: usize,
}

#[derive(Default)]
pub(crate) struct Registrar {
    bindings: HashMap<Aor, Vec<Binding>>,
}

impl Change {
    /// Reads what a REGISTER asks for, and changes nothing.
    pub(crate) fn read(request: &Message, bounds: &Bounds) -> Result<Self, Refusal> {
        let general = request.expires();
        if request.values(HeaderName::Contact).any(|value| value == b"*") {
            return match (request.contact_is_star(), general) {
                (true, Some(0)) if request.count(HeaderName::Contact) == 1 => Ok(Self::RemoveAll),
                _ => Err(Refusal::Malformed("`*` stands alone, and with Expires: 0")),
            };
        }
        let mut wishes = Vec::new();
        for contact in request.contacts() {
            let contact = contact.map_err(|_| Refusal::Malformed("a contact cannot be read"))?;
            let uri = contact.uri().map_err(|_| Refusal::Malformed("a contact's address cannot be read"))?;
            let asked = contact
                .expires()
                .or(general)
                .map_or(bounds.max, |seconds| Duration::from_secs(seconds.into()));
            if !asked.is_zero() && asked < bounds.min {
                return Err(Refusal::TooBrief);
            }
            let text = |name| contact.params().get_str(name).map(str::to_owned);
            wishes.push(Wish {
                contact: uri.to_buf(),
                expires: asked.min(bounds.max),
                q: contact.q().unwrap_or(1000),
                instance: text("+sip.instance").map(|id| (id, text("reg-id").unwrap_or_default())),
            });
            if wishes.len() > bounds.per_user {
                return Err(Refusal::Malformed("there are too many contacts"));
            }
        }
        Ok(if wishes.is_empty() { Self::Nothing } else { Self::Set(wishes) })
    }
}

impl Registrar {
    /// Applies a REGISTER, wholly or not at all.
    pub(crate) fn apply(
        &mut self,
        aor: &Aor,
        change: Change,
        request: &Message,
        flow: &Flow,
        now: Instant,
        per_user: usize,
    ) -> Result<(), Refusal> {
        let call_id = request.call_id().unwrap_or_default();
        let cseq = request.cseq().map_or(0, |cseq| cseq.number);
        let bindings = self.bindings.entry(Aor::clone(aor)).or_default();
        let late = |binding: &Binding| binding.call_id == call_id && binding.cseq >= cseq;
        match change {
            Change::Nothing => {}
            Change::RemoveAll => {
                if bindings.iter().any(late) {
                    return Err(Refusal::OutOfOrder);
                }
                bindings.clear();
            }
            Change::Set(wishes) => {
                let is_late =
                    |wish: &Wish| bindings.iter().any(|binding| same(binding, wish) && late(binding));
                if wishes.iter().any(is_late) {
                    return Err(Refusal::OutOfOrder);
                }
                for wish in wishes {
                    bindings.retain(|binding| !same(binding, &wish));
                    if wish.expires.is_zero() {
                        continue;
                    }
                    // A client that starts anew on another port each time must not lock itself out.
                    if bindings.len() >= per_user
                        && let Some(first) =
                            (0..bindings.len()).min_by_key(|index| bindings[*index].expires_at)
                    {
                        bindings.remove(first);
                    }
                    bindings.push(Binding {
                        reach: Reach::new(&wish.contact.as_uri(), flow),
                        contact: wish.contact,
                        q: wish.q,
                        expires_at: now + wish.expires,
                        instance: wish.instance,
                        call_id: call_id.to_owned(),
                        cseq,
                    });
                }
                // Stable, so that among equals the older one stays first.
                bindings.sort_by_key(|binding| std::cmp::Reverse(binding.q));
            }
        }
        if bindings.is_empty() {
            self.bindings.remove(aor);
        }
        Ok(())
    }

    /// The bindings of a user that hold now, dearest first.
    pub(crate) fn bindings(&self, aor: &str, now: Instant) -> impl Iterator<Item = &Binding> {
        self.bindings.get(aor).into_iter().flatten().filter(move |binding| binding.expires_at > now)
    }

    /// Forgets what has expired, and says when the next one will.
    pub(crate) fn expire(&mut self, aor: &str, now: Instant) -> Option<Instant> {
        let bindings = self.bindings.get_mut(aor)?;
        bindings.retain(|binding| binding.expires_at > now);
        let next = bindings.iter().map(|binding| binding.expires_at).min();
        if next.is_none() {
            self.bindings.remove(aor);
        }
        next
    }

    /// Forgets a contact that can be reached no more; not one that has registered anew from elsewhere.
    pub(crate) fn remove(&mut self, aor: &str, contact: &UriBuf, reach: &Reach) {
        if let Some(bindings) = self.bindings.get_mut(aor) {
            bindings
                .retain(|binding| binding.contact.as_str() != contact.as_str() || binding.reach != *reach);
            if bindings.is_empty() {
                self.bindings.remove(aor);
            }
        }
    }

    /// Users with at least one binding.
    pub(crate) fn len(&self) -> usize {
        self.bindings.len()
    }
}

/// The contact headers of a 200.
pub(crate) fn contact_value(binding: &Binding, now: Instant) -> String {
    let left = binding.expires_at.saturating_duration_since(now).as_secs();
    let mut value = format!("<{}>;expires={left}", binding.contact);
    if binding.q < 1000 {
        value.push_str(&format!(";q=0.{:03}", binding.q));
    }
    if let Some((id, registration)) = &binding.instance {
        // Its quotes were taken off; whatever was in them comes from the client itself, and goes back to it.
        value.push_str(&format!(";+sip.instance=\"{id}\""));
        if !registration.is_empty() {
            value.push_str(&format!(";reg-id={registration}"));
        }
    }
    value
}

fn same(binding: &Binding, wish: &Wish) -> bool {
    binding.contact.equivalent(&wish.contact)
        || (wish.instance.is_some() && binding.instance == wish.instance)
}

/// Whether a contact leads back to this service, which would be a loop.
pub(crate) fn leads_here(contact: &Uri<'_>, local: &[std::net::SocketAddr]) -> bool {
    let Some(address) = contact.host().and_then(|host| host.ip()) else { return false };
    let port = contact.port().unwrap_or(5060);
    local.iter().any(|here| here.ip() == address && here.port() == port)
}

impl Change {
    /// The contacts that it sets.
    pub(crate) fn contacts(&self) -> impl Iterator<Item = Uri<'_>> {
        let wishes = if let Self::Set(wishes) = self { &wishes[..] } else { &[] };
        wishes.iter().map(|wish| wish.contact.as_uri())
    }
}
