#pragma once

#include <string>

namespace edgeproof {

/// Any text (UTF-8) with the passwords of URLs ("rtsp://user:***@camera") and the values of "password=", "token=",
/// "user-pw=" and the like replaced by "***". A password ends at ASCII whitespace.
std::string redact(const std::string &text);

/// A URL fit to be a name: without user, password and query.
std::string without_credentials(const std::string &url);

}  // namespace edgeproof
