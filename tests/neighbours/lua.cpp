// Lua, which knows nothing of stacks: it runs in a call. Its errors are longjmps, from deep frames
// to a protected call on the same stack.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/stack_pool.hpp>

#include "support/recursion.hpp"
#include "support/units.hpp"

#include <lua.hpp>

#include <memory>
#include <string>

using namespace growstack;
using namespace growstack::testing;

namespace {

int descend(lua_State* lua) {
  lua_pushinteger(lua, static_cast<lua_Integer>(recurse(deep)));
  return 1;
}

int fail_deep(lua_State* lua) {
  below_frames(deep, [lua] {
    lua_pushliteral(lua, "deep");
    lua_error(lua);
  });
  return 0;
}

/// Fails and goes on, in the main program and in a coroutine.
constexpr const char* program = R"(
  for round = 1, 3 do
    assert(descend() > 1000)
    local well, message = pcall(fail_deep)
    assert(not well and message == "deep")
    local other = coroutine.create(fail_deep)
    well, message = coroutine.resume(other)
    assert(not well and message == "deep")
  end)";

/// Returns what went wrong, or nothing.
std::string run() {
  const std::unique_ptr<lua_State, decltype(&lua_close)> lua(luaL_newstate(), &lua_close);
  luaL_openlibs(lua.get());
  lua_register(lua.get(), "descend", descend);
  lua_register(lua.get(), "fail_deep", fail_deep);
  return luaL_dostring(lua.get(), program) == LUA_OK ? "" : lua_tostring(lua.get(), -1);
}

}  // namespace

TEST_CASE("in a call, Lua's errors jump from deep frames to where they are caught") {
  Stack stack({.reserve = 256 * MiB, .name = "lua"});
  CHECK(call(stack, run).empty());
  CHECK(call(stack, run).empty());
}

TEST_CASE("Lua's errors jump on a stack of a pool, which is used again") {
  StackPool pool({.reserve = 256 * MiB});
  for (int round = 0; round < 3; ++round) {
    Stack stack = pool.acquire("lua");
    CHECK(call(stack, run).empty());
  }
}

TEST_CASE("Lua's errors jump on the stack of a growstack::Thread") {
  std::string wrong = "did not run";
  Thread({.reserve = 256 * MiB, .name = "lua"}, [&wrong] { wrong = run(); }).join();
  CHECK(wrong.empty());
}
