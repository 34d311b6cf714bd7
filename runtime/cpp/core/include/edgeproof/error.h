#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace edgeproof {

/// A deliberate error: the object and what is wrong with it, what was found, what is valid, and the fix.
/// Mirrors `edgeproof_runtime.errors`; all of these are bad usage or bad input (exit code 2).
class Error : public std::runtime_error {
  public:
    enum class Kind { contract, frame, json, model };

    Error(Kind kind, std::string what, std::string got = {}, std::string expected = {}, std::string fix = {})
        : std::runtime_error(message(what, got, expected, fix)), kind(kind), problem(std::move(what)),
          got(std::move(got)), expected(std::move(expected)), fix(std::move(fix)) {}

    Kind kind;
    std::string problem;
    std::string got;
    std::string expected;
    std::string fix;

  private:
    static std::string message(const std::string &what, const std::string &got, const std::string &expected,
                               const std::string &fix) {
        std::string text = what;
        if (!got.empty()) text += "\n  got:      " + got;
        if (!expected.empty()) text += "\n  expected: " + expected;
        if (!fix.empty()) text += "\n  fix:      " + fix;
        return text;
    }
};

}  // namespace edgeproof
