#pragma once

#include <string>

namespace edgeproof {

// What is secret in an address: user and password (all up to the last "@" before "?"), every value of the query, the
// fragment, and of the path what may be one: "key=value", "user:password", what follows a word such as "webhooks" or
// "token", and long random segments. "synthetic", "csi" and "file" addresses hold none. All functions take any bytes, and
// time proportional to their number.

/// Any text (UTF-8) with "***" in place of the secrets of its addresses, and of the values of "password=", "token=",
/// "user-pw=" and the like. An address in quotes ends at the closing one, others at ASCII whitespace.
std::string redact(const std::string &text);

/// The same for a text that is one address, such as the value of an option: it may hold spaces, and lack its scheme.
std::string redact_address(const std::string &address);

/// An address fit to be a name: as `redact_address`, with user, password, query and fragment left out.
std::string without_credentials(const std::string &address);

}  // namespace edgeproof
