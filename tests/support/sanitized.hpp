// Whether a sanitizer watches: it makes frames larger, keeps mappings and threads of its own, and forbids some premises.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define GROWSTACK_TESTED_UNDER_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define GROWSTACK_TESTED_UNDER_TSAN 1
#endif

namespace growstack::testing {

#if defined(GROWSTACK_TESTED_UNDER_ASAN) || defined(GROWSTACK_TESTED_UNDER_TSAN)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

}  // namespace growstack::testing
