#include "check.h"
#include "system/redact.h"

using namespace edgeproof::app;

// The cases of tests/runtime/sources/test_options.py and more; the rules are those of
// `edgeproof_runtime.system.redact`.
TEST(passwords_are_redacted) {
    const std::pair<const char *, const char *> cases[] = {
        {"rtsp://user:pw@camera/x", "rtsp://user:***@camera/x"},
        {"rtsp:/user:p@w@camera/x?y", "rtsp:/user:***@camera/x?y"},
        {"two http://a:b@c/ and rtsps://:d@e", "two http://a:***@c/ and rtsps://:***@e"},
        {"rtsp://camera:554/x@y", "rtsp://camera:554/x@y"},
        {"rtspsrc user-pw=secret ! x", "rtspsrc user-pw=*** ! x"},
        {"PassWord = \"a b\" token='c' api_key=d,e", "PassWord = *** token=*** api_key=***,e"},
        {"token= and password=", "token= *** password="},
        {"C:/a:b", "C:/a:b"},
        {"", ""}};
    for (const auto &[text, redacted] : cases) CHECK_WITH(redact(text) == redacted, redact(text));
    const std::string longest(1'000'000, 'a');
    CHECK(redact("rtsp://" + longest) == "rtsp://" + longest);
    CHECK(without_credentials("rtsp://user:pw@camera:554/x?token=y") == "rtsp://camera:554/x");
}
