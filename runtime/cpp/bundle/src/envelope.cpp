#include "envelope.h"

#include <cctype>

#include "edgeproof/error.h"
#include "edgeproof/failure.h"
#include "edgeproof/json.h"
#include "edgeproof/spec.h"
#include "files.h"
#include "sha256.h"

namespace edgeproof {
namespace {

constexpr std::size_t most_certificates = 8;
constexpr std::size_t most_shown = 200;

const std::string media_type(spec::signing_media_type);
const std::string payload_type(spec::signing_payload_type);
const std::string statement_type(spec::signing_statement_type);
const std::string predicate_type(spec::signing_predicate_type);

Failure invalid(const std::string &field, const std::string &got, const std::string &expected) {
    return bad_input(field + ": invalid", got.substr(0, most_shown), expected);
}

const json::Value &member(const json::Value &value, const std::string &field) {
    const json::Value *found = std::holds_alternative<json::Object>(value.data) ? value.find(field) : nullptr;
    if (found == nullptr) throw bad_input(field + ": missing");
    return *found;
}

const std::string &text(const json::Value &value, const std::string &field, const std::string &expected) {
    const auto *found = std::get_if<std::string>(&value.data);
    if (found == nullptr) throw invalid(field, "not a string", expected);
    return *found;
}

void require_text(const json::Value &value, const std::string &field, const std::string &expected) {
    const std::string &found = text(member(value, field), field, expected);
    if (found != expected) throw invalid(field, found, expected);
}

const json::Array &list(const json::Value &value, const std::string &field, const std::string &expected,
                        std::size_t at_least, std::size_t at_most) {
    const auto *found = std::get_if<json::Array>(&value.data);
    if (found == nullptr) throw invalid(field, "not a list", expected);
    if (found->size() < at_least || found->size() > at_most)
        throw invalid(field, std::to_string(found->size()), expected);
    return *found;
}

json::Value parsed(const std::string &content, const std::string &name) {
    try {
        return json::parse(content);
    } catch (const Error &error) {
        throw bad_input(name + ": invalid JSON", error.problem + (error.got.empty() ? "" : ": " + error.got));
    }
}

int value_of(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/// Base64 with padding, of the standard alphabet and nothing else.
std::string decoded(const json::Value &value) {
    const Failure wrong = bad_input("base64: invalid");
    const auto *found = std::get_if<std::string>(&value.data);
    if (found == nullptr || found->size() % 4 != 0) throw wrong;
    std::string bytes;
    bytes.reserve(found->size() / 4 * 3);
    for (std::size_t at = 0; at < found->size(); at += 4) {
        unsigned group = 0;
        int padding = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            const char c = (*found)[at + i];
            const bool may_pad = at + 4 == found->size() && i >= 2;
            if (c == '=' && may_pad) {
                ++padding;
            } else if (value_of(c) < 0 || padding != 0) {
                throw wrong;
            }
            group = group << 6U | static_cast<unsigned>(c == '=' ? 0 : value_of(c));
        }
        for (int i = 0; i < 3 - padding; ++i) bytes.push_back(static_cast<char>(group >> (16 - 8 * i) & 0xFFU));
    }
    return bytes;
}

int digit_of(char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; }

bool is_sha256(const std::string &digest) {
    if (digest.size() != 64) return false;
    for (const char c : digest)
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
    return true;
}

void read_material(Envelope &envelope, const json::Value &found) {
    if (!std::holds_alternative<json::Object>(found.data)) throw invalid("verificationMaterial", "no object", "an object");
    const std::string expected = "publicKey, x509CertificateChain or certificate";
    std::string kind;
    for (const char *one : {"publicKey", "x509CertificateChain", "certificate"}) {
        const json::Value *value = found.find(one);
        if (value == nullptr || value->is_null()) continue;
        if (!kind.empty()) throw invalid("verificationMaterial", kind + ", " + one, expected);
        kind = one;
    }
    if (kind.empty()) throw invalid("verificationMaterial", "nothing known", expected);
    const json::Value *entries = found.find("tlogEntries");
    const auto *logged = entries == nullptr ? nullptr : std::get_if<json::Array>(&entries->data);
    envelope.material = kind;
    if (kind == "publicKey") return;
    envelope.material = kind == "certificate" || (logged != nullptr && !logged->empty()) ? "keyless" : "certificates";
    if (envelope.material == "keyless") return;
    const json::Value &chain = member(found.at(kind), "certificates");
    for (const json::Value &one : list(chain, "certificates", "1 to 8 certificates", 1, most_certificates))
        envelope.certificates.push_back(decoded(member(one, "rawBytes")));
}

}  // namespace

std::string Envelope::message() const {
    return "DSSEv1 " + std::to_string(payload_type.size()) + " " + payload_type + " " + std::to_string(payload.size()) +
           " " + payload;
}

std::map<std::string, std::string> Envelope::digests() const {
    const json::Value statement = parsed(payload, "payload");
    const json::Value &predicate = member(statement, "predicate");
    require_text(statement, "_type", statement_type);
    require_text(statement, "predicateType", predicate_type);
    const json::Value &subject = list(member(statement, "subject"), "subject", "one subject", 1, 1).front();
    const json::Value &serialization = member(predicate, "serialization");
    for (const auto &[field, expected] : {std::pair{"method", "files"}, std::pair{"hash_type", "sha256"}})
        if (const std::string &found = text(member(serialization, field), field, expected); found != expected)
            throw invalid(std::string("serialization.") + field, found, expected);
    std::map<std::string, std::string> found;
    Sha256 root;
    const json::Value &resources = member(predicate, "resources");
    for (const json::Value &resource : list(resources, "resources", "a list", 0, SIZE_MAX)) {
        const std::string &name = text(member(resource, "name"), "resource name", "a plain relative path");
        if (!is_plain(name)) throw invalid("resource name", name, "a plain relative path");
        const std::string &algorithm = text(member(resource, "algorithm"), name + ": algorithm", "sha256");
        if (algorithm != "sha256") throw invalid(name + ": algorithm", algorithm, "sha256");
        const std::string &digest = text(member(resource, "digest"), name + ": digest", "64 hex digits");
        if (!is_sha256(digest)) throw invalid(name + ": digest", digest, "64 hex digits");
        if (!found.emplace(name, digest).second) throw invalid("resource name", name, "each name once");
        std::string bytes;
        for (std::size_t i = 0; i < digest.size(); i += 2)
            bytes.push_back(static_cast<char>(digit_of(digest[i]) * 16 + digit_of(digest[i + 1])));
        root.update(bytes);
    }
    const std::string expected = root.hex();
    const std::string &given = text(member(member(subject, "digest"), "sha256"), "subject", expected);
    if (given != expected) throw invalid("subject", given, expected + ", the hash of its resources");
    return found;
}

std::optional<std::string> Envelope::signed_at() const {
    const json::Value statement = parsed(payload, "payload");
    const json::Value &predicate = member(statement, "predicate");
    if (!std::holds_alternative<json::Object>(predicate.data)) throw invalid("predicate", "no object", "an object");
    const json::Value *ours = predicate.find("edgeproof");
    if (ours == nullptr || ours->is_null()) return std::nullopt;
    const std::string expected = "UTC, such as 2026-11-28T12:00:00Z";
    const std::string &found = text(member(*ours, "signed_at"), "signed_at", expected);
    if (!is_time(found)) throw invalid("signed_at", found, expected);
    return found;
}

Envelope read_envelope(const std::string &content, const std::string &name) {
    const json::Value bundle = parsed(content, name);
    require_text(bundle, "mediaType", media_type);
    Envelope envelope;
    read_material(envelope, member(bundle, "verificationMaterial"));
    const json::Value &found = member(bundle, "dsseEnvelope");
    require_text(found, "payloadType", payload_type);
    const json::Value &one = list(member(found, "signatures"), "signatures", "one signature", 1, 1).front();
    envelope.payload = decoded(member(found, "payload"));
    envelope.signature = decoded(member(one, "sig"));
    return envelope;
}

bool is_time(const std::string &text) {
    const std::string form = "0000-00-00T00:00:00Z";
    if (text.size() != form.size()) return false;
    for (std::size_t i = 0; i < form.size(); ++i)
        if (form[i] == '0' ? std::isdigit(static_cast<unsigned char>(text[i])) == 0 : text[i] != form[i]) return false;
    return true;
}

}  // namespace edgeproof
