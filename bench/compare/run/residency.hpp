#pragma once
#include "run/process_memory.hpp"  // until the promises include that
