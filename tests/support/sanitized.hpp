// Whether the test runs under a sanitizer, which makes frames larger and has mappings and threads
// of its own, so that some assertions do not hold.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define GROWSTACK_TESTED_UNDER_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define GROWSTACK_TESTED_UNDER_TSAN 1
#endif

namespace growstack::testing {

#if defined(GROWSTACK_TESTED_UNDER_TSAN)
inline constexpr bool under_thread_sanitizer = true;
#else
inline constexpr bool under_thread_sanitizer = false;
#endif
#if defined(GROWSTACK_TESTED_UNDER_ASAN)
inline constexpr bool under_address_sanitizer = true;
#else
inline constexpr bool under_address_sanitizer = false;
#endif
inline constexpr bool sanitized = under_thread_sanitizer || under_address_sanitizer;

}  // namespace growstack::testing
