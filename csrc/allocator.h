// Whether large CPU tensors come from gact's allocator now.
#pragma once

namespace gact {

bool allocator_serves();

}  // namespace gact
