-- Wireshark dissector for IKE and ESP in TCP (RFC 9329): takes the stream apart and hands each message to Wireshark's own
-- dissectors of IKE and ESP, so that key tables work as they do for UDP.
--
-- Use it once:   tshark -X lua_script:rfc9329.lua -r capture.pcap
-- or for good:   copy it to ~/.local/lib/wireshark/plugins/
--
-- Other ports than 4500: Decode As ... RFC9329.

local rfc9329 = Proto("rfc9329", "TCP Encapsulation of IKE and IPsec Packets (RFC 9329)")
local prefix_field = ProtoField.string("rfc9329.prefix", "Stream prefix")
local length_field = ProtoField.uint16("rfc9329.length", "Length")
local marker_field = ProtoField.uint32("rfc9329.marker", "Non-ESP marker", base.HEX)
rfc9329.fields = { prefix_field, length_field, marker_field }

local PREFIX = "IKETCP"
local isakmp = Dissector.get("isakmp")
local esp = Dissector.get("esp")

local function has_prefix(buffer, offset)
  return buffer:len() >= offset + #PREFIX and buffer(offset, #PREFIX):string() == PREFIX
end

local function message_length(buffer, _, offset)
  if has_prefix(buffer, offset) then return #PREFIX end
  -- A Length below 2 is a broken stream: what is left is shown as it is.
  local length = buffer(offset, 2):uint()
  return length < 2 and buffer:len() - offset or length
end

local function dissect_message(buffer, pinfo, tree)
  local length = buffer:len()
  local subtree = tree:add(rfc9329, buffer())
  if has_prefix(buffer, 0) then
    subtree:add(prefix_field, buffer(0, #PREFIX))
    return length
  end
  subtree:add(length_field, buffer(0, 2))
  if length >= 6 and buffer(2, 4):uint() == 0 then
    subtree:add(marker_field, buffer(2, 4))
    if length > 6 then isakmp:call(buffer(6):tvb(), pinfo, tree) end
  elseif length >= 10 then
    esp:call(buffer(2):tvb(), pinfo, tree)
  end
  return length
end

function rfc9329.dissector(buffer, pinfo, tree)
  pinfo.cols.protocol = "RFC9329"
  dissect_tcp_pdus(buffer, tree, 2, message_length, dissect_message)
  return buffer:len()
end

DissectorTable.get("tcp.port"):add(4500, rfc9329)
