#pragma once

#include <string>
#include <string_view>

namespace edgeproof {

/// Whether an address of this scheme may hold secrets.
bool may_hold_secrets(std::string_view scheme);

bool is_scheme_character(char c);

/// What follows the slashes of an address, for people to read.
struct ShownAddress {
    std::string text;
    bool sound;  ///< false: what stands where a port belongs is none, so nothing of it is shown
};

/// `rest` is what follows the scheme's slashes. `bare` leaves out what is otherwise replaced by "***": user, password,
/// query, fragment.
ShownAddress show_address(std::string_view scheme, std::string_view rest, bool bare);

}  // namespace edgeproof
