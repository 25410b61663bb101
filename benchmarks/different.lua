-- For wrk: no request is like another.
local count = 0

function request()
  count = count + 1
  return wrk.format(nil, wrk.path .. "?page=" .. count)
end
