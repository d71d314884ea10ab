import socket

from devstack.ports import PortClaims, is_free


def listening() -> socket.socket:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    return server


def test_a_wanted_port_is_given_when_it_is_free():
    with listening() as server:
        port = server.getsockname()[1]
    claims = PortClaims()
    assert claims.claim({"kafka": port}) == {"kafka": port}
    claims.release()


def test_a_taken_port_is_moved():
    claims = PortClaims()
    with listening() as server:
        taken = server.getsockname()[1]
        assert not is_free(taken)
        got = claims.claim({"kafka": taken})["kafka"]
        assert got != taken
        assert is_free(got)
    claims.release()


def test_two_stacks_never_get_the_same_port_and_a_released_one_is_free_again():
    first, second = PortClaims(), PortClaims()
    port = first.claim({"kafka": 0})["kafka"]
    assert second.claim({"valkey": port})["valkey"] != port
    second.release()
    first.release()
    assert second.claim({"valkey": port})["valkey"] == port
    second.release()


def test_free_ports_stay_out_of_the_range_of_outgoing_connections():
    claims = PortClaims()
    assert all(port < 32_768 for port in claims.claim({str(n): 0 for n in range(20)}).values())
    claims.release()
