-- Sends the request given as the only argument, byte for byte, and reports the run as one line of JSON.
-- Where the request holds @N@, each request carries the next number.

local counter = 0

function init(arguments)
   local first, last = 1, 1
   local parts = {}
   local text = arguments[1]
   repeat
      local from, to = text:find("@N@", first, true)
      parts[#parts + 1] = text:sub(first, (from or 0) - 1)
      first = (to or 0) + 1
      last = from
   until not last
   if #parts == 1 then
      request = function() return text end
   else
      request = function()
         counter = counter + 1
         return table.concat(parts, tostring(counter))
      end
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '{"seconds": %.6f, "requests": %d, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, ' ..
      '"connect_errors": %d, "read_errors": %d, "write_errors": %d, "timeouts": %d, "error_statuses": %d}\n',
      summary.duration / 1e6, summary.requests,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
