#pragma once

// Just enough of a test framework: CHECK counts and reports, TEST registers, main runs them all.

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace check {

struct Test {
    const char *name;
    std::function<void()> body;
};

inline std::vector<Test> &tests() {
    static std::vector<Test> all;
    return all;
}

inline int &failures() {
    static int count = 0;
    return count;
}

inline bool add(const char *name, std::function<void()> body) {
    tests().push_back({name, std::move(body)});
    return true;
}

inline void report(bool passed, const char *what, const char *file, int line, const std::string &detail = {}) {
    if (passed) return;
    ++failures();
    std::fprintf(stderr, "%s:%d: %s %s\n", file, line, what, detail.c_str());
}

inline int run_all() {
    for (const Test &test : tests()) {
        std::printf("%s\n", test.name);
        std::fflush(stdout);
        test.body();
    }
    std::printf("%zu tests, %d failures\n", tests().size(), failures());
    return failures() == 0 ? 0 : 1;
}

}  // namespace check

#define CHECK(condition) check::report((condition), #condition, __FILE__, __LINE__)
#define CHECK_WITH(condition, detail) check::report((condition), #condition, __FILE__, __LINE__, (detail))
#define CHECK_THROWS(expression, kind_)                                           \
    do {                                                                          \
        bool thrown = false;                                                      \
        try {                                                                     \
            (void)(expression);                                                   \
        } catch (const edgeproof::Error &error) {                                 \
            thrown = error.kind == edgeproof::Error::Kind::kind_;                 \
        }                                                                         \
        check::report(thrown, #expression " throws " #kind_, __FILE__, __LINE__); \
    } while (false)
#define TEST(name)                                            \
    static void name();                                       \
    static const bool name##_added = check::add(#name, name); \
    static void name()
