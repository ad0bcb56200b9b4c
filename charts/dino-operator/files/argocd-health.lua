-- What Argo CD shows of a DinoJob or a DinoAutoML. One text for both kinds, in the Lua that Argo CD runs: no string library.
local status = obj.status
if status == nil or status.observedGeneration == nil or status.conditions == nil then
  return {status = "Progressing", message = "Waiting for the DINO operator"}
end

-- What was said of an earlier spec says nothing about this one.
local generation = obj.metadata.generation
if generation ~= nil and status.observedGeneration < generation then
  return {status = "Progressing", message = "Waiting for the DINO operator to read generation " .. generation}
end

local is = {}
for _, condition in ipairs(status.conditions) do
  if condition.status == "True" then
    is[condition.type] = condition
  end
end

local function said(word, condition, remedy)
  local parts = {}
  for _, part in ipairs({condition.message or "", remedy or ""}) do
    if part ~= "" then
      table.insert(parts, part)
    end
  end
  local message = condition.reason
  if #parts > 0 then
    message = message .. ": " .. table.concat(parts, " ")
  end
  return {status = word, message = message}
end

-- The ends first: they stay, whatever is suspended after them.
if is.Complete then
  return said("Healthy", is.Complete)
end
if is.Failed then
  local failure = status.failure or {}
  return said("Degraded", is.Failed, failure.remedy)
end
if is.Suspended then
  return said("Suspended", is.Suspended)
end
-- No progress here: Argo CD reads the message anew only when the word before it changes.
return {status = "Progressing", message = status.phase}
