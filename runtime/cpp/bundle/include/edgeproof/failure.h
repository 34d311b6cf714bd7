#pragma once

#include <exception>
#include <stdexcept>
#include <string>

#include "edgeproof/spec.h"

namespace edgeproof {

/// An error that ends the program: the object and what is wrong with it, what was found, what is valid, and the fix.
struct Failure : std::runtime_error {
    Failure(ExitCode code, const std::string &what, const std::string &got = {}, const std::string &expected = {},
            const std::string &fix = {})
        : std::runtime_error(what + line("got:      ", got) + line("expected: ", expected) + line("fix:      ", fix)),
          code(code), problem(what), got(got) {}

    ExitCode code;
    std::string problem;  ///< the object and what is wrong with it
    std::string got;      ///< what was found; may be empty

  private:
    static std::string line(const char *name, const std::string &text) {
        return text.empty() ? std::string() : "\n  " + (name + text);
    }
};

/// Bad usage or bad input.
inline Failure bad_input(const std::string &what, const std::string &got = {}, const std::string &expected = {},
                         const std::string &fix = {}) {
    return {ExitCode::bad_input, what, got, expected, fix};
}

/// Not available on this machine or in this build.
inline Failure unavailable(const std::string &what, const std::string &got = {}, const std::string &expected = {},
                           const std::string &fix = {}) {
    return {ExitCode::unavailable, what, got, expected, fix};
}

/// What an error says, in one line: what it names stays apart by semicolons.
std::string one_line(const std::exception &error);

}  // namespace edgeproof
