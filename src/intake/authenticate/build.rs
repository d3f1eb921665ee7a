//! Puts together what is signed, and keys that are made for one request.

use std::borrow::Cow;

use http::HeaderName;

use super::find::find;
use super::refusal::{Missing, Refusal};
use crate::bridge::auth::{Holds, Piece, Place, Template};
use crate::intake::Request;

/// What the names of a template stand for.
pub(super) struct Facts<'f> {
    pub request: &'f Request,
    pub timestamp: Option<&'f [u8]>,
    pub headers: Option<&'f [u8]>,
    pub secret: &'f [u8],
}

type Pieces<'f> = Vec<Cow<'f, [u8]>>;

/// The first template whose names are all there. A name that is there twice ends the search.
pub(super) fn first_whole<'f>(
    templates: &'f [Template],
    facts: &Facts<'f>,
) -> Result<Pieces<'f>, Refusal> {
    let mut missing = Missing(Vec::new());
    for template in templates {
        match build(template, facts)? {
            Ok(pieces) => return Ok(pieces),
            Err(gap) => missing = gap,
        }
    }
    Err(Refusal::Absent(missing))
}

/// The pieces, or which name is missing.
pub(super) fn build<'f>(
    template: &'f Template,
    facts: &Facts<'f>,
) -> Result<Result<Pieces<'f>, Missing>, Refusal> {
    let mut pieces = Vec::new();
    for piece in template.pieces() {
        let name = match piece {
            Piece::Text(text) => {
                pieces.push(Cow::Borrowed(text.as_bytes()));
                continue;
            }
            Piece::Name(name) => name,
        };
        let missing = |what: &str| Ok(Err(Missing(vec![what.to_owned()])));
        match name {
            Holds::Body => pieces.push(Cow::Borrowed(facts.request.body.as_ref())),
            Holds::Secret => pieces.push(Cow::Borrowed(facts.secret)),
            Holds::Method => pieces.push(Cow::Borrowed(facts.request.method.as_str().as_bytes())),
            Holds::Url => pieces.push(Cow::Borrowed(facts.request.target.as_bytes())),
            Holds::Timestamp => match facts.timestamp {
                Some(timestamp) => pieces.push(Cow::Borrowed(timestamp)),
                None => return missing("the timestamp"),
            },
            Holds::Headers => match facts.headers {
                Some(headers) => pieces.push(Cow::Borrowed(headers)),
                None => return missing("the list of signed headers"),
            },
            Holds::HeaderValues => match facts.headers {
                Some(headers) => match header_values(headers, facts.request)? {
                    Ok(values) => pieces.push(Cow::Owned(values)),
                    Err(gap) => return Ok(Err(gap)),
                },
                None => return missing("the list of signed headers"),
            },
            Holds::At(place) => match at(place, facts.request)? {
                Some(value) => pieces.push(value),
                None => return Ok(Err(Missing::at(place))),
            },
        }
    }
    Ok(Ok(pieces))
}

/// The one value at a place.
fn at<'r>(place: &Place, request: &'r Request) -> Result<Option<Cow<'r, [u8]>>, Refusal> {
    let found = find(request, place);
    let mut values = found.map_err(|_| Refusal::NotAText(place.to_string()))?;
    let value = values.pop();
    if values.is_empty() {
        Ok(value)
    } else {
        Err(Refusal::Repeated(place.to_string()))
    }
}

/// The values of the headers that the signature names, blanks between the names, full stops between the values (Hook0).
fn header_values(names: &[u8], request: &Request) -> Result<Result<Vec<u8>, Missing>, Refusal> {
    let mut values: Vec<Cow<'_, [u8]>> = Vec::new();
    for name in names
        .split(|&byte| byte == b' ')
        .filter(|name| !name.is_empty())
    {
        // The name itself comes from the request and stays out of the log.
        let missing = || Missing(vec!["a header named in the signature".to_owned()]);
        let Ok(name) = HeaderName::from_bytes(name) else {
            return Ok(Err(missing()));
        };
        match at(&Place::Header(name), request) {
            Ok(Some(value)) => values.push(value),
            Ok(None) => return Ok(Err(missing())),
            Err(_) => {
                return Err(Refusal::Repeated(
                    "a header named in the signature".to_owned(),
                ));
            }
        }
    }
    Ok(Ok(values.join(&b'.')))
}
