"""A SIP client on pjsua2, driven by JSON lines: commands on standard input, events on standard output.

Commands: {"do": "online", "open": true, "note": "..."}, {"do": "send", "to": "sip:...", "text": "..."}, {"do": "typing", "to": "sip:...", "typing": true}, {"do": "hang-up"}, {"do": "quit"}.
Events:   {"event": "registered", "code": 200}, {"event": "presence", "of": "sip:...", "open": true, "note": "..."},
          {"event": "message", "from": "sip:...", "type": "...", "text": "..."}, {"event": "sent", "code": 200},
          {"event": "typing", "from": "sip:...", "typing": true}, {"event": "call", "state": "CONFIRMED"}.

Whoever calls is answered.
"""

import json
import os
import queue
import sys
import threading

import pjsua2 as pj

setup = json.loads(sys.stdin.readline())

# The library says things on standard output before it knows where its log is.
output = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def say(**event):
    output.write(json.dumps(event) + "\n")
    output.flush()


class Buddy(pj.Buddy):
    def onBuddyState(self):
        info = self.getInfo()
        status = info.presStatus
        if status.status == pj.PJSUA_BUDDY_STATUS_UNKNOWN:
            return
        say(
            event="presence",
            of=info.uri,
            open=status.status == pj.PJSUA_BUDDY_STATUS_ONLINE,
            busy=status.activity == pj.PJRPID_ACTIVITY_BUSY,
            away=status.activity == pj.PJRPID_ACTIVITY_AWAY,
            note=status.note,
        )


class Call(pj.Call):
    def onCallState(self, prm):
        info = self.getInfo()
        say(event="call", state=info.stateText)
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            calls.pop(info.id, None)


# The library forgets a call that nobody holds.
calls = {}


class Account(pj.Account):
    def onIncomingCall(self, prm):
        call = calls[prm.callId] = Call(self, prm.callId)
        answer = pj.CallOpParam()
        answer.statusCode = 200
        call.answer(answer)

    def onRegState(self, prm):
        say(event="registered", code=int(prm.code), active=self.getInfo().regIsActive)

    def onInstantMessage(self, prm):
        say(event="message", type=prm.contentType, text=prm.msgBody, **{"from": prm.fromUri})

    def onInstantMessageStatus(self, prm):
        say(event="sent", code=int(prm.code))

    def onTypingIndication(self, prm):
        say(event="typing", typing=prm.isTyping, **{"from": prm.fromUri})


endpoint = pj.Endpoint()
endpoint.libCreate()
config = pj.EpConfig()
config.uaConfig.threadCnt = 0
config.uaConfig.mainThreadOnly = True
config.logConfig.level = 5
config.logConfig.consoleLevel = 0
config.logConfig.filename = setup["log"]
endpoint.libInit(config)
transport = pj.TransportConfig()
transport.boundAddress = "127.0.0.1"
transport.publicAddress = "127.0.0.1"
kinds = {"udp": pj.PJSIP_TRANSPORT_UDP, "tcp": pj.PJSIP_TRANSPORT_TCP, "tls": pj.PJSIP_TRANSPORT_TLS}
if setup.get("roots"):
    transport.tlsConfig.CaListFile = setup["roots"]
    transport.tlsConfig.verifyServer = True
endpoint.transportCreate(kinds[setup["transport"]], transport)
endpoint.libStart()
endpoint.audDevManager().setNullDev()

account_config = pj.AccountConfig()
account_config.idUri = setup["address"]
account_config.regConfig.registrarUri = "sip:" + setup["domain"]
account_config.regConfig.timeoutSec = 600
account_config.sipConfig.authCreds.append(
    pj.AuthCredInfo("digest", setup["domain"], setup["user"], 0, setup["password"])
)
account_config.sipConfig.proxies.append(setup["service"])
account_config.presConfig.publishEnabled = True
account_config.mediaConfig.transportConfig.boundAddress = "127.0.0.1"
account = Account()
account.create(account_config)

buddies = []
for address in setup["contacts"]:
    buddy = Buddy()
    buddy_config = pj.BuddyConfig()
    buddy_config.uri = address
    buddy_config.subscribe = True
    buddy.create(account, buddy_config)
    buddies.append(buddy)

# The library's objects live on this thread alone; another one only reads the commands.
commands = queue.Queue()


def read():
    for line in sys.stdin:
        commands.put(json.loads(line))
    # Whoever drives this is gone.
    os._exit(0)


threading.Thread(target=read, daemon=True).start()
while True:
    endpoint.libHandleEvents(20)
    while not commands.empty():
        command = commands.get()
        if command["do"] == "online":
            status = pj.PresenceStatus()
            online = command["open"]
            status.status = pj.PJSUA_BUDDY_STATUS_ONLINE if online else pj.PJSUA_BUDDY_STATUS_OFFLINE
            status.activity = pj.PJRPID_ACTIVITY_BUSY if command.get("busy") else pj.PJRPID_ACTIVITY_UNKNOWN
            status.note = command.get("note", "")
            account.setOnlineStatus(status)
        elif command["do"] == "send":
            buddy = next((it for it in buddies if it.getInfo().uri == command["to"]), None)
            message = pj.SendInstantMessageParam()
            message.content = command["text"]
            buddy.sendInstantMessage(message)
        elif command["do"] == "typing":
            buddy = next((it for it in buddies if it.getInfo().uri == command["to"]), None)
            typing = pj.SendTypingIndicationParam()
            typing.isTyping = command["typing"]
            buddy.sendTypingIndication(typing)
        elif command["do"] == "hang-up":
            endpoint.hangupAllCalls()
        elif command["do"] == "quit":
            for buddy in buddies:
                buddy.subscribePresence(False)
            account.shutdown()
            endpoint.libDestroy()
            os._exit(0)
