"""Drives paho-mqtt by orders: one JSON object a line in, one event a line out."""
import json
import socket
import ssl
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 15
peers = {}
output = threading.Lock()


def tell(peer, event, **more):
    with output:
        print(json.dumps(dict(peer=peer, event=event, **more)), flush=True)


def code_of(rc):
    return rc.value if hasattr(rc, "value") else int(rc)


def properties_of(message):
    p = Properties(PacketTypes.PUBLISH)
    if message.get("user"):
        p.UserProperty = [tuple(u) for u in message["user"]]
    if message.get("contentType"):
        p.ContentType = message["contentType"]
    if message.get("response"):
        p.ResponseTopic = message["response"]
    if message.get("correlation"):
        p.CorrelationData = message["correlation"].encode()
    if message.get("expiry"):
        p.MessageExpiryInterval = message["expiry"]
    return p


def received(m, v5):
    out = dict(topic=m.topic, payload=m.payload.hex(), qos=m.qos, retain=bool(m.retain))
    if v5:
        p = m.properties
        out["user"] = [list(u) for u in getattr(p, "UserProperty", [])]
        out["contentType"] = getattr(p, "ContentType", "")
        out["response"] = getattr(p, "ResponseTopic", "")
        out["correlation"] = getattr(p, "CorrelationData", b"").decode()
        out["expiry"] = getattr(p, "MessageExpiryInterval", 0)
    return out


class Refused(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Peer:
    """One connection."""

    def __init__(self, order):
        self.v5 = order["version"] == 5
        self.login = order["login"]
        self.name = order["peer"]
        self.answered = threading.Event()
        self.subscribed = threading.Event()
        self.rc, self.present, self.granted, self.lost = None, False, [], False
        place = self.login["place"]
        web = place["transport"] in ("ws", "wss")
        more = {} if self.v5 else {"clean_session": not self.login["keep"]}
        self.c = c = mqtt.Client(client_id=self.login["id"], protocol=order["version"],
                                 transport="websockets" if web else "tcp", **more)
        if web:
            c.ws_set_options(path=place["path"])
        if place["ca"]:
            c.tls_set(ca_certs=place["ca"], certfile=place["cert"] or None, keyfile=place["key"] or None,
                      cert_reqs=ssl.CERT_REQUIRED)
        if self.login["user"]:
            c.username_pw_set(self.login["user"], self.login["password"] or None)
        will = self.login.get("will")
        if will:
            c.will_set(will["topic"], bytes.fromhex(will["payload"]), will["qos"], will["retain"])
        c.on_connect = self.on_connect
        c.on_subscribe = self.on_subscribe
        c.on_disconnect = self.on_disconnect
        c.on_message = lambda _c, _u, m: tell(self.name, "message", message=received(m, self.v5))

    def on_connect(self, _client, _userdata, flags, rc, _properties=None):
        self.rc, self.present = code_of(rc), bool(flags["session present"])
        self.answered.set()

    def ended(self):
        if not self.answered.is_set():
            self.lost = True  # without a CONNACK
            self.answered.set()

    def on_disconnect(self, *_):
        self.ended()
        self.c.disconnect()  # or paho would try again for ever

    def on_subscribe(self, _client, _userdata, _mid, granted, _properties=None):
        self.granted = [code_of(g) for g in granted]
        self.subscribed.set()

    def run(self):
        try:
            self.c.loop_forever()
        except OSError:
            pass  # an alert of TLS, which paho doesn't take for the end of the connection
        self.ended()

    def connect(self):
        place = self.login["place"]
        more = {}
        if self.v5:
            more["clean_start"] = not self.login["keep"]
            if self.login["keep"]:
                more["properties"] = Properties(PacketTypes.CONNECT)
                more["properties"].SessionExpiryInterval = 3600
        try:
            self.c.connect(place["host"], place["port"], **more)
        except (OSError, ValueError) as e:
            raise Refused(0, str(e)) from e
        # With loop_start paho leaves all writing to its thread: two threads must not use
        # one TLS connection. The thread's own function is ours, for its handling of errors.
        self.c._thread_main = self.run
        self.c.loop_start()
        self.loop = self.c._thread
        if not self.answered.wait(PATIENCE):
            raise Refused(0, "no CONNACK")
        if self.lost:
            raise Refused(0, "closed without a CONNACK")
        if self.rc != 0:
            raise Refused(self.rc, "CONNACK")

    def listen(self, order):
        self.connect()
        self.c.subscribe(order["filter"], order["qos"])
        if not self.subscribed.wait(PATIENCE):
            raise Refused(0, "no SUBACK")
        if self.granted != [order["qos"]]:
            raise Refused(self.granted[0], "SUBACK")
        tell(self.name, "ready", present=self.present)

    def publish(self, order):
        self.connect()
        m = order["message"]
        more = {"properties": properties_of(m)} if self.v5 else {}
        sent = [self.c.publish(m["topic"], bytes.fromhex(p), m["qos"], m["retain"], **more)
                for p in order.get("payloads") or [m["payload"]]]
        for s in sent:
            s.wait_for_publish(PATIENCE)
            if not s.is_published():
                raise Refused(0, "no acknowledgement")
        self.leave(tell_it=False)
        tell(self.name, "published")

    def abort(self):
        self.c.socket().shutdown(socket.SHUT_RDWR)
        self.loop.join(PATIENCE)
        tell(self.name, "gone")

    def leave(self, tell_it=True):
        self.c.disconnect()
        self.loop.join(PATIENCE)
        if tell_it:
            tell(self.name, "gone")


def obey(order):
    try:
        if order["do"] in ("abort", "leave"):
            getattr(peers[order["peer"]], order["do"])()
            return
        peer = peers[order["peer"]] = Peer(order)
        getattr(peer, order["do"])(order)
    except Refused as e:
        tell(order["peer"], "refused", code=e.code, text=str(e))


for line in sys.stdin:
    threading.Thread(target=obey, args=(json.loads(line),), daemon=True).start()
